// The page of dead letters: a list or one letter, and an address that says which.

import { isReadOnly, learnAccess, withToken } from "./admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton } from "./dialogs.js";
import { element, icon } from "../common/elements.js";
import { listSkeleton } from "../common/growing-list.js";
import { listenToKeys } from "../common/keys.js";
import { translatePage } from "../common/language.js";
import { letterAddress, listAddress, readLettersAddress, requestedFilters } from "../common/letter-address.js";
import { offerFilters, showCounts, showFilters, uidField } from "./filters.js";
import { letterList } from "./list.js";
import { confirmReplayAll } from "./replay.js";
import { fetchCounts, fetchLetter, fetchLetters } from "./requests.js";
import { letterView } from "./view.js";
import { words } from "./words.js";
import { goTo, onStep } from "./places.js";
import { mayLeave } from "./unsaved.js";

const SKELETON_AFTER_MS = 120;

const result = document.getElementById("result");

let current = new AbortController();
/** The place of the letter that is shown, or null. */
let shownLetter = null;
/** The address of the list that was shown last: the way back from a letter. */
let lastList = "/dead-letters";

function show(content, announced) {
  result.replaceChildren(content);
  if (announced !== null) announce(announced);
}

/** Shows what the address names. What is begun later replaces what has not ended. */
async function followAddress() {
  const { letter, filters } = readLettersAddress(location.search);
  shownLetter = letter;
  document.title = `${letter ?? words.title} · orderflow`;
  document.getElementById("filters").hidden = letter !== null;
  current.abort();
  current = new AbortController();
  const { signal } = current;
  result.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => show(listSkeleton(), words.loading), SKELETON_AFTER_MS);
  try {
    if (letter !== null) await showLetter(letter, signal, slow);
    else await showList(filters, signal, slow);
    result.setAttribute("aria-busy", "false");
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    clearTimeout(slow);
  }
}

function showMissing(place, said) {
  show(element("div", { class: "letter-view" }, backLink(), state("missing", said, [place])), words[`${said}Title`]);
}

async function showLetter(place, signal, slow) {
  const answer = await fetchLetter(place, signal);
  clearTimeout(slow);
  if (answer.kind === "ok") show(letterView(answer.told, backLink(), signal), null);
  else if (answer.kind === "not-found") showMissing(place, answer.told.consumed ? "notFound" : "notConsumed");
  else showFailure(answer.kind);
}

async function showList(filters, signal, slow) {
  lastList = location.pathname + location.search;
  showFilters(filters);
  const asked = requestedFilters(filters);
  const { reason, ...allReasons } = asked;
  const [page, counted] = await Promise.all([fetchLetters(asked, null, signal), fetchCounts(allReasons, signal)]);
  clearTimeout(slow);
  if (page.kind !== "ok") {
    showFailure(page.kind);
    return;
  }
  const counts = counted.kind === "ok" ? counted.told : null;
  showCounts(counts);
  if (page.told.letters.length === 0) {
    showNothing(filters);
    return;
  }
  const total = counts === null ? "" : `${reason ? (counts.counts[reason] ?? 0) : counts.total}${counts.complete ? "" : "+"}`;
  show(letterList(page.told, total, replayAllButton(asked), (before) => fetchLetters(asked, before, new AbortController().signal)), "");
}

function showNothing(filters) {
  const filtered = Object.values(filters).some((text) => text !== "");
  const kind = filtered ? "emptyFiltered" : "empty";
  const clear = element("a", { class: "secondary", href: "/dead-letters" }, words.clearFilters);
  show(state(filtered ? "missing" : "check", kind, [], filtered && clear), words[`${kind}Title`]);
}

function replayAllButton({ state: _state, ...filters }) {
  if (isReadOnly()) return false;
  return actionButton([icon("again"), words.replayAll], "action", () => withToken(() => confirmReplayAll(filters, followAddress)));
}

function backLink() {
  return element("a", { class: "back", href: lastList }, icon("back"), words.backToList);
}

function showFailure(kind) {
  const name = kind === "network" ? "network" : "unavailable";
  const retry = actionButton([words.retry], "secondary", followAddress);
  const failed = state("warning", name, [], retry);
  failed.classList.add("failed");
  show(failed, words[`${name}Title`]);
}

function state(drawing, name, codes, after = false) {
  return element(
    "div",
    { class: "state" },
    element("span", { class: "state-icon" }, icon(drawing)),
    element("h2", {}, words[`${name}Title`]),
    ...codes.map((code) => element("code", { class: "state-uid" }, code)),
    element("p", {}, words[`${name}Text`]),
    after,
  );
}

/** Follows a link within the page without loading it anew. */
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.origin !== location.origin || link.pathname !== "/dead-letters") return;
  event.preventDefault();
  if (!mayLeave(words.discard)) return;
  const left = shownLetter;
  if (link.search !== location.search) goTo(link.pathname + link.search);
  window.scrollTo(0, 0);
  await followAddress();
  focusAfter(left);
});

onStep(words.discard, async () => {
  const left = shownLetter;
  await followAddress();
  focusAfter(left);
});

/** What had the focus is gone: the next Tab goes on from what has come, in a list from the letter that was left. */
function focusAfter(left) {
  const line = left === null ? null : result.querySelector(`a.line[href="${letterAddress(left)}"]`);
  const target = document.getElementById("letter-place") ?? line ?? result.querySelector("a.line");
  target?.focus({ preventScroll: target !== line });
}

translatePage(words);
offerFilters((filters) => {
  goTo(listAddress(filters));
  followAddress();
});
listenToKeys(uidField, result);
await learnAccess();
followAddress();
