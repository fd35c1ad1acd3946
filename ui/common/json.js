// Formats JSON without parsing it, so that every digit and every escape stays as the server sent it.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const INDENT = "  ";

/** Returns JSON text with line breaks and indentation. */
export function indent(text) {
  const tokens = text.match(TOKEN) ?? [];
  let depth = 0;
  let out = "";
  tokens.forEach((token, position) => {
    if (token === "{" || token === "[") {
      depth += 1;
      out += token;
      if (!closes(tokens[position + 1])) out += newLine(depth);
    } else if (closes(token)) {
      depth -= 1;
      out += opens(tokens[position - 1]) ? token : newLine(depth) + token;
    } else if (token === ",") out += token + newLine(depth);
    else out += token === ":" ? ": " : token;
  });
  return out;
}

function newLine(depth) {
  return `\n${INDENT.repeat(depth)}`;
}

function opens(token) {
  return token === "{" || token === "[";
}

function closes(token) {
  return token === "}" || token === "]";
}
