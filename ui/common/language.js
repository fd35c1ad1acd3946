// Which language the reader gets, and how a page is put into it.

const LANGUAGES = { en: "English", ru: "Русский" };
const KEPT_AS = "language";

/** The language of the page, "en" or "ru": the reader's choice, else the first of theirs that there are words for. */
export const language = [chosen(), ...navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase())]
  .find((tag) => tag in LANGUAGES) ?? "en";

function chosen() {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null; // a browser may be told to keep nothing
  }
}

/**
 * Returns what belongs to the reader's language.
 * @template T
 * @param {{ en: T, ru: T }} each
 */
export function inLanguage(each) {
  return each[language];
}

/** Puts words into everything that a page's HTML says, and lets its button change the language. */
export function translatePage(words) {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = words[element.dataset.word];
  for (const element of document.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", words[element.dataset.wordLabel]);
  }
  offerOther(document.getElementById("language"));
}

function offerOther(button) {
  const other = Object.keys(LANGUAGES).find((tag) => tag !== language);
  button.lang = other;
  button.textContent = LANGUAGES[other];
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT_AS, other);
    location.reload();
  });
}
