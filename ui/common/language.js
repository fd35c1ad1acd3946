// Chooses the reader's language, and translates the page.

const LANGUAGES = { en: "English", ru: "Русский" };
const KEPT_AS = "language";

/** The language of the page, "en" or "ru": the reader's choice, else the browser's first language that is supported. */
export const language = [chosen(), ...navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase())]
  .find((tag) => tag in LANGUAGES) ?? "en";

function chosen() {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null; // the browser may block storage
  }
}

/**
 * Returns the value for the reader's language.
 * @template T
 * @param {{ en: T, ru: T }} values
 */
export function inLanguage(values) {
  return values[language];
}

/** Translates the texts of the page's HTML, and sets up the button that changes the language. */
export function translatePage(words) {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = words[element.dataset.word];
  for (const element of document.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", words[element.dataset.wordLabel]);
  }
  setUpLanguageButton(document.getElementById("language"));
}

function setUpLanguageButton(button) {
  const other = Object.keys(LANGUAGES).find((tag) => tag !== language);
  button.lang = other;
  button.textContent = LANGUAGES[other];
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT_AS, other);
    location.reload();
  });
}
