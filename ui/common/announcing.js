// Announces changes of the page to screen readers.

const announcement = document.getElementById("announcement");

/** Lets a screen reader read a text when it is idle. */
export function announce(text) {
  announcement.textContent = text;
}
