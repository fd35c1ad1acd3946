// The page: one form, one result, and an address that says which order is shown.

import { lookUp } from "./lookup.js";
import { orderCard } from "./order.js";
import { emptyState, failure, invalid, notFound, skeleton } from "./states.js";
import { translatePage, words } from "./words.js";

const SKELETON_AFTER_MS = 120;

const form = document.getElementById("finder");
const input = document.getElementById("order-uid");
const button = document.getElementById("get-order");
const result = document.getElementById("result");
const announcement = document.getElementById("announcement");

let current = new AbortController();

/** Shows one thing in place of whatever was there. */
function show(content, announced) {
  result.replaceChildren(content);
  announcement.textContent = announced;
}

function setBusy(busy) {
  button.setAttribute("aria-busy", String(busy));
  result.setAttribute("aria-busy", String(busy));
}

/** Looks an order up and shows what came of it. A newer lookup replaces an older one that has not ended. */
async function find(uid) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  document.title = `${uid} · orderflow`;
  announcement.textContent = words.loading;
  setBusy(true);
  const slow = setTimeout(() => show(skeleton(), words.loading), SKELETON_AFTER_MS);
  try {
    const answer = await lookUp(uid, signal);
    clearTimeout(slow);
    render(uid, answer);
    setBusy(false);
  } catch (error) {
    clearTimeout(slow);
    if (!signal.aborted) throw error;
  }
}

function render(uid, answer) {
  switch (answer.kind) {
    case "found":
      show(orderCard(answer), words.found);
      break;
    case "not-found":
      show(notFound(uid), words.notFoundTitle);
      break;
    case "invalid":
      show(invalid(uid), words.invalidTitle);
      break;
    default:
      show(failure(answer.kind, () => find(uid)), words[`${answer.kind}Title`]);
  }
}

function showNothing() {
  current.abort();
  setBusy(false);
  document.title = `${words.title} · orderflow`;
  show(emptyState(), "");
}

/** Shows what the address names. */
function followAddress() {
  const uid = (new URLSearchParams(location.search).get("order") ?? "").trim();
  input.value = uid;
  if (uid) find(uid);
  else showNothing();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const uid = input.value.trim();
  input.value = uid;
  if (!uid) {
    announcement.textContent = words.enterUid;
    input.focus();
    return;
  }
  const address = `/?${new URLSearchParams({ order: uid })}`;
  // On a touch screen the keyboard would cover what was found.
  if (matchMedia("(pointer: coarse)").matches) input.blur();
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  find(uid);
});

input.addEventListener("paste", () => {
  setTimeout(() => {
    input.value = input.value.trim();
  });
});

window.addEventListener("popstate", followAddress);
translatePage();
followAddress();
