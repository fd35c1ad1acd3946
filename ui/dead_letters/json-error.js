// Finds the first syntax error in JSON: browsers report its place in different forms, or not at all.

const BLANKS = /[ \t\n\r]*/y;
const SCALAR = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const CLOSING = { "{": "}", "[": "]" };

/**
 * Returns the line and the column, from 1, of the first syntax error; null when the text is JSON.
 * @param {string} text
 * @returns {{line: number, column: number}|null}
 */
export function findJsonError(text) {
  try {
    JSON.parse(text);
    return null;
  } catch {
    const before = text.slice(0, errorOffset(text)).split("\n");
    return { line: before.length, column: before.at(-1).length + 1 };
  }
}

function errorOffset(text) {
  const open = [];
  let at = 0;

  const take = (pattern) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match !== null;
  };
  const takeMark = (mark) => {
    take(BLANKS);
    if (text[at] !== mark) return false;
    at += 1;
    return true;
  };
  const takeName = () => {
    take(BLANKS);
    return text[at] === '"' && take(SCALAR) && takeMark(":");
  };
  /** Reads a scalar, an empty container or an opening bracket. Returns "ended", "opened" or "wrong". */
  const takeValue = () => {
    take(BLANKS);
    const bracket = text[at];
    if (!(bracket in CLOSING)) return take(SCALAR) ? "ended" : "wrong";
    at += 1;
    if (takeMark(CLOSING[bracket])) return "ended";
    open.push(bracket);
    return "opened";
  };

  for (;;) {
    if (open.at(-1) === "{" && !takeName()) return at;
    const taken = takeValue();
    if (taken === "wrong") return at;
    if (taken === "opened") continue;
    while (!takeMark(",")) {
      if (open.length === 0 || !takeMark(CLOSING[open.at(-1)])) return at;
      open.pop();
    }
    if (open.length === 0) return at - 1;
  }
}
