// JSON line by line, each with the path of what stands on it. Every digit and every escape stays as it was sent.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const CLOSING = { "{": "}", "[": "]" };

/**
 * @typedef {object} Line
 * @property {string} path Such as items[0].price; empty for the whole document.
 * @property {number} depth
 * @property {string|null} name The member's name as it was written, quotes included.
 * @property {string} text The value, or the bracket that opens or closes one; a comma where one follows.
 * @property {boolean} closing
 */

/**
 * Returns the lines of a text that is known to be JSON.
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

/** Returns the number of the line on which a path stands, or the next thing around it that there is. */
export function lineOf(lines, path) {
  for (let looked = path; ; looked = around(looked)) {
    const found = lines.findIndex((line) => line.path === looked && !line.closing);
    if (found >= 0 || looked === "") return Math.max(found, 0);
  }
}

function around(path) {
  return path.slice(0, Math.max(path.lastIndexOf("."), path.lastIndexOf("["), 0));
}
