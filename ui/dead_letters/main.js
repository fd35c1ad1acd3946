// The dead letters page. Its address says whether it shows a list or one letter.

import { isReadOnly, loadAccess, withToken } from "../common/admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton } from "../common/dialogs.js";
import { element, icon } from "../common/elements.js";
import { focusContent } from "../common/focus.js";
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
/** Whether a list was shown before. What was typed into the field of the uid earlier than that stays. */
let started = false;
/** The place of the shown letter, or null. */
let shownLetter = null;
/** The address of the last list, for the link back from a letter. */
let lastList = listAddress({});

function show(content, announced) {
  result.replaceChildren(content);
  if (announced !== null) announce(announced);
}

/** Shows the list or the letter of the current address. A new call aborts the previous one. */
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

function showMissing(place, name) {
  show(element("div", { class: "letter-view" }, backLink(), state("missing", name, [place])), words[`${name}Title`]);
}

async function showLetter(place, signal, slow) {
  const answer = await fetchLetter(place, signal);
  clearTimeout(slow);
  if (answer.kind === "ok") show(letterView(answer.body, backLink(), signal), null);
  else if (answer.kind === "not-found") showMissing(place, answer.body.consumed ? "notFound" : "notConsumed");
  else showFailure(answer.kind);
}

async function showList(filters, signal, slow) {
  lastList = location.pathname + location.search;
  showFilters(filters, { keepUid: !started });
  started = true;
  await loadList(filters, signal, slow);
}

async function loadList(filters, signal, slow) {
  const requested = requestedFilters(filters);
  const { reason, ...allReasons } = requested;
  const [page, counted] = await Promise.all([fetchLetters(requested, null, signal), fetchCounts(allReasons, signal)]);
  const uid = filters.order_uid.trim();
  if (page.kind === "ok" && page.body.letters.length === 0 && uid !== filters.order_uid) {
    // Blanks around a text may be part of a uid, but were more likely pasted with it.
    const trimmed = { ...filters, order_uid: uid };
    if (uidField.value === filters.order_uid) uidField.value = uid;
    history.replaceState(history.state, "", listAddress(trimmed));
    lastList = location.pathname + location.search;
    await loadList(trimmed, signal, slow);
    return;
  }
  clearTimeout(slow);
  if (page.kind !== "ok") {
    showFailure(page.kind);
    return;
  }
  const counts = counted.kind === "ok" ? counted.body : null;
  showCounts(counts);
  if (page.body.letters.length === 0) {
    showNothing(filters);
    return;
  }
  const total = counts === null ? "" : `${reason ? (counts.counts[reason] ?? 0) : counts.total}${counts.complete ? "" : "+"}`;
  show(letterList(page.body, total, replayAllButton(requested), (before) => fetchLetters(requested, before, new AbortController().signal)), "");
}

function showNothing(filters) {
  const filtered = Object.values(filters).some((text) => text !== "");
  const kind = filtered ? "emptyFiltered" : "empty";
  const clear = element("a", { class: "secondary", href: listAddress({}) }, words.clearFilters);
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

/** Follows a link within the page without reloading it. */
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.origin !== location.origin || link.pathname !== location.pathname) return;
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

/** The focused element was removed: moves the focus to the new content, in a list to the letter that was shown before. */
function focusAfter(left) {
  const line = left === null ? null : result.querySelector(`a.line[href="${letterAddress(left)}"]`);
  const target = document.getElementById("letter-place") ?? line ?? result.querySelector("a.line");
  focusContent(target, target !== line);
}

translatePage(words);
offerFilters((filters) => {
  goTo(listAddress(filters));
  followAddress();
});
listenToKeys(uidField, result);
await loadAccess({ readOnlyText: words.readOnlyText, mayForget: () => mayLeave(words.discard) });
followAddress();
