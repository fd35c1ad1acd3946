// Shows the characters of a text that a reader would not see, or that would turn the text around.
//
// Each of them stays in the page, so that a copied text is the text itself; page.css shows its code in its place.

// Line feeds and tabs are laid out. Joiners are part of words in many scripts, and of emoji.
const HIDDEN = /(?![\n\t\r\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
// All white space of a key counts, but that between words is seen anyway.
const HIDDEN_IN_KEY = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|[^\S ]|^ +| +$| {2,}/gu;

/** Returns the nodes of a text of any kind, such as a name or a message. */
export function visibleParts(text) {
  return parts(text, HIDDEN);
}

/** Returns an element with a key, such as a uid: it shows blanks around it too, and keeps its own direction. */
export function exact(key) {
  const made = document.createElement("bdi");
  made.append(...parts(key, HIDDEN_IN_KEY));
  return made;
}

/** Returns the text with the codes of hidden characters instead of them, for places that hold no elements. */
export function plain(text) {
  return text.replace(HIDDEN, (character) => `⟨${codeOf(character)}⟩`);
}

function parts(text, hidden) {
  const found = [];
  let end = 0;
  for (const { 0: characters, index } of text.matchAll(hidden)) {
    found.push(document.createTextNode(text.slice(end, index)), ...[...characters].map(shown));
    end = index + characters.length;
  }
  found.push(document.createTextNode(text.slice(end)));
  return found.filter((node) => node.nodeType !== Node.TEXT_NODE || node.data !== "" || found.length === 1);
}

function shown(character) {
  const made = document.createElement("span");
  made.className = "hidden-character";
  made.dataset.code = character === " " ? "␣" : codeOf(character);
  made.textContent = character;
  return made;
}

function codeOf(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
