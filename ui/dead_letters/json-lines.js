// Splits JSON into lines, each with the path of its value. Every digit and every escape stays as it was sent.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const CLOSING = { "{": "}", "[": "]" };

/**
 * @typedef {object} Line
 * @property {string} path Such as items[0].price; empty for the whole document.
 * @property {number} depth
 * @property {string|null} name The member's name as it was written, quotes included.
 * @property {string} text A value or a bracket, with the comma that follows it.
 * @property {boolean} closing
 */

/**
 * Returns the lines of a valid JSON text.
 * @param {string} text
 * @returns {Line[]}
 */
export function jsonLines(text) {
  const tokens = text.match(TOKEN) ?? [];
  const lines = [];
  let next = 0;

  const add = (path, depth, name, shown, closing = false) => lines.push({ path, depth, name, text: shown, closing });

  const readValue = (path, depth, name) => {
    const token = tokens[next++];
    if (!(token in CLOSING)) add(path, depth, name, token);
    else if (tokens[next] === CLOSING[token]) add(path, depth, name, token + tokens[next++]);
    else {
      add(path, depth, name, token);
      readMembers(token, path, depth + 1);
      add(path, depth, null, CLOSING[token], true);
    }
  };

  const readMembers = (opening, path, depth) => {
    for (let index = 0, more = true; more; index += 1) {
      if (opening === "[") readValue(`${path}[${index}]`, depth, null);
      else {
        const name = tokens[next];
        next += 2;
        readValue(path === "" ? JSON.parse(name) : `${path}.${JSON.parse(name)}`, depth, name);
      }
      more = tokens[next++] === ",";
      if (more) lines.at(-1).text += ",";
    }
  };

  readValue("", 0, null);
  return lines;
}

/** Returns the number of the line with this path, or with its nearest existing parent. */
export function lineOf(lines, path) {
  for (let candidate = path; ; candidate = parentOf(candidate)) {
    const number = lines.findIndex((line) => line.path === candidate && !line.closing);
    if (number >= 0 || candidate === "") return Math.max(number, 0);
  }
}

function parentOf(path) {
  return path.slice(0, Math.max(path.lastIndexOf("."), path.lastIndexOf("["), 0));
}
