// A list with a button that loads more lines.

import { announce } from "./announcing.js";
import { element } from "./elements.js";
import { count } from "./format.js";

/**
 * Returns the lines of the first page, and the foot with the button that loads more.
 * @param {{items: object[], next: string|null}} page
 * @param {(item: object) => Element} line
 * @param {(before: string) => Promise<{items: object[], next: string|null}|null>} more Null: the page could not be read.
 * @param {{more: string, moreFailed: string, retry: string, items: Object<string, string>}} words
 * @param {(lines: number, complete: boolean) => void} grown Called with the list's length, at first and after each growth.
 */
export function growingList(page, line, more, words, grown = () => {}) {
  const lines = element("ol", { class: "lines" }, ...page.items.map(line));
  const foot = element("div", { class: "list-foot" });
  const showRest = (next) => {
    grown(lines.children.length, next === null);
    foot.replaceChildren(...(next === null ? [] : [moreButton(next, words.more)]));
  };
  const moreButton = (next, label) => {
    const button = element("button", { type: "button", class: "secondary more" }, label);
    button.addEventListener("click", async () => {
      if (button.getAttribute("aria-busy") === "true") return;
      button.setAttribute("aria-busy", "true");
      const following = await more(next);
      const focused = document.activeElement === button;
      const nextFocus = following === null ? offerRetry(next) : append(following);
      if (focused) nextFocus?.focus();
    });
    return button;
  };
  const append = ({ items, next }) => {
    const added = items.map(line);
    lines.append(...added);
    showRest(next);
    announce(count(words.items, added.length));
    return added[0]?.firstChild;
  };
  const offerRetry = (next) => {
    const retry = moreButton(next, words.retry);
    foot.replaceChildren(element("p", { role: "alert" }, words.moreFailed), retry);
    return retry;
  };
  showRest(page.next);
  return { lines, foot };
}

/** Returns the placeholder of a list that is being loaded. */
export function listSkeleton() {
  const bones = Array.from({ length: 6 }, () => element("span", { class: "bone row" }));
  return element("div", { class: "list skeleton", "aria-hidden": "true" }, element("span", { class: "bone short" }), ...bones);
}
