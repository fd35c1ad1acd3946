// The orders page: a form, a result, and an address that names what is shown.

import { futureAddress, orderAddress, readAddress, searchAddress } from "../common/address.js";
import { announce } from "../common/announcing.js";
import { element } from "../common/elements.js";
import { focusContent } from "../common/focus.js";
import { findFuture, findOrder, findOrders } from "./finding.js";
import { count } from "../common/format.js";
import { listSkeleton } from "../common/growing-list.js";
import { listenToKeys } from "../common/keys.js";
import { translatePage } from "../common/language.js";
import { exact, plain } from "../common/visible.js";
import { orderList } from "./list.js";
import { orderCard } from "./order.js";
import { fetchPage } from "./pages.js";
import { emptyState, failure, invalid, noFuture, notFound, rejected, skeleton, unsupported } from "./states.js";
import { words } from "./words.js";

const SKELETON_AFTER_MS = 120;

const form = document.getElementById("finder");
const input = document.getElementById("order-uid");
const button = document.getElementById("get-order");
const result = document.getElementById("result");

let current = new AbortController();
/** Whether the address was read before. What was typed into the field earlier than that stays. */
let started = false;
/** The last list from which an order was opened: going back shows it unchanged. */
let left = null;

/** Replaces the shown content. */
function show(content, announced) {
  result.replaceChildren(content);
  announce(announced);
}

function setBusy(busy) {
  button.setAttribute("aria-busy", String(busy && input.value !== ""));
  result.setAttribute("aria-busy", String(busy));
}

/**
 * Waits for a result and shows it. A new call aborts the previous one.
 * @param {(signal: AbortSignal) => Promise<object>} work
 * @param {() => Node} outline The placeholder that is shown if it takes long.
 * @param {(found: object) => void} render
 */
async function showWhenFound(work, outline, render) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  announce(words.loading);
  setBusy(true);
  const slow = setTimeout(() => show(outline(), words.loading), SKELETON_AFTER_MS);
  try {
    const found = await work(signal);
    if (signal.aborted) return;
    clearTimeout(slow);
    render(found);
    setBusy(false);
  } catch (error) {
    if (signal.aborted) return;
    clearTimeout(slow);
    showFailure("unavailable");
    setBusy(false);
    throw error;
  } finally {
    clearTimeout(slow);
  }
}

/** Shows what was found for a typed text. `found.sought` is that text, or the text without the blanks around it. */
function render(typed, found, future = false) {
  const text = found.sought;
  if (text !== typed && input.value === typed) input.value = text;
  switch (found.kind) {
    case "found":
      history.replaceState(null, "", orderAddress(text));
      show(orderCard(found), words.found);
      break;
    case "matches":
      history.replaceState(null, "", future ? futureAddress(text) : searchAddress(text));
      show(matches(text, found.lists, future), count(words.orders, found.lists.flatMap(({ orders }) => orders).length));
      break;
    case "not-found":
      show(notFound(text), words.notFoundTitle);
      break;
    case "rejected":
      show(rejected(text, found.story), words.rejectedTitle);
      break;
    case "unsupported":
      show(unsupported(text), words.unsupportedTitle);
      break;
    case "invalid":
      show(invalid(text), words.invalidTitle);
      break;
    default:
      showFailure(found.kind);
  }
}

function showFailure(kind) {
  show(failure(kind, followAddress), words[`${kind}Title`]);
}

function matches(text, lists, future) {
  const ofCustomer = future ? words.futureOfCustomer : words.ofCustomer;
  const withTrack = future ? words.futureWithTrack : words.withTrack;
  return element(
    "div",
    { class: "lists" },
    ...lists.map(({ search, ...page }) =>
      orderList([search.customer_id ? ofCustomer : withTrack, element("code", {}, exact(text))], page, more(search), future ? null : text),
    ),
  );
}

function renderRecent(page) {
  if (page.kind !== "page") showFailure(page.kind === "network" ? "network" : "listUnavailable");
  else if (page.orders.length + page.future === 0) show(emptyState(), words.emptyTitle);
  else show(orderList([words.recent, element("span", { class: "hint" }, words.recentBy)], page, more({}), ""), "");
}

function renderFuture(page) {
  if (page.kind !== "page") showFailure(page.kind === "network" ? "network" : "listUnavailable");
  else if (page.orders.length === 0) show(noFuture("./"), words.noFutureTitle);
  else show(orderList([words.future, element("span", { class: "hint" }, words.futureBy)], page, more({ dated: "future" }), null), "");
}

function more(search) {
  return (before) => fetchPage(search, before, new AbortController().signal);
}

/** Parses the address, sets the field and the title, and returns the result. */
function readPlace() {
  const place = readAddress(location.search);
  if (started || input.value === "") input.value = place.text;
  started = true;
  document.title = `${plain(place.text) || (place.kind === "future" ? words.future : words.title)} · orderflow`;
  return place;
}

/** Shows the content of the current address. Resolves when it is shown or aborted. */
function followAddress() {
  const { kind, text } = readPlace();
  switch (kind) {
    case "order":
      return showWhenFound((signal) => findOrder(text, signal), skeleton, (found) => render(text, found));
    case "search":
      return showWhenFound((signal) => findOrders(text, signal), listSkeleton, (found) => render(text, found));
    case "future-search":
      return showWhenFound((signal) => findFuture(text, signal), listSkeleton, (found) => render(text, found, true));
    case "future":
      return showWhenFound((signal) => fetchPage({ dated: "future" }, null, signal), listSkeleton, renderFuture);
    default:
      return showWhenFound((signal) => fetchPage({}, null, signal), listSkeleton, renderRecent);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value;
  if (!text.trim()) {
    announce(words.enterUid);
    input.focus();
    return;
  }
  // On a touch screen the keyboard would cover the result.
  if (matchMedia("(pointer: coarse)").matches) input.blur();
  const place = readAddress(location.search);
  if (place.text !== text || place.kind === "future-search") history.pushState(null, "", orderAddress(text));
  followAddress();
});

/** Follows a link within the page without reloading it. */
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.origin !== location.origin || link.pathname !== location.pathname) return;
  event.preventDefault();
  if (link.classList.contains("line")) left = { query: location.search, content: result.firstChild, link };
  if (link.search !== location.search) history.pushState(null, "", link.pathname + link.search);
  window.scrollTo(0, 0);
  await followAddress();
  // The focused element was removed: move the focus to the new content.
  focusContent(document.getElementById("found-uid") ?? result.querySelector("a.line"), true);
});

window.addEventListener("popstate", () => {
  if (left?.query !== location.search) {
    followAddress();
    return;
  }
  readPlace();
  current.abort();
  setBusy(false);
  show(left.content, "");
  left.link.focus();
});

listenToKeys(input, result);
translatePage(words);
followAddress();
