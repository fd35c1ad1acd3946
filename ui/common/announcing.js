// Tells those who do not see the page what has changed on it.

const announcement = document.getElementById("announcement");

/** Has a screen reader read a text out when it is idle. */
export function announce(text) {
  announcement.textContent = text;
}
