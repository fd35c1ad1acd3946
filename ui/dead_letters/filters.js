// The filters of the list: what may be chosen, what is chosen, and how many letters each reason has.

import { element } from "../common/elements.js";
import { periods } from "../common/letter-address.js";
import { words } from "./words.js";

const form = document.getElementById("filters");
const { reason, order_uid: uid, period, state } = form.elements;

/** The field of the order's uid. */
export const uidField = uid;

/** Fills the choices, and calls `changed` with the filters whenever the reader has changed them. */
export function offerFilters(changed) {
  offer(period, ["", ...periods], (name) => words.periods[name]);
  offer(state, ["", "all"], (name) => words.stateFilters[name]);
  showCounts(null);
  const tell = () => changed(readFilters());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
  });
  for (const choice of [reason, period, state]) choice.addEventListener("change", tell);
  // A search field that is emptied with its own cross says so with this event.
  uid.addEventListener("search", () => uid.value === "" && tell());
}

/** Shows filters as chosen. */
export function showFilters(filters) {
  reason.value = filters.reason in words.reasons ? filters.reason : "";
  uid.value = filters.order_uid;
  period.value = periods.includes(filters.period) ? filters.period : "";
  state.value = filters.state === "all" ? "all" : "";
}

/** Returns what is chosen. */
export function readFilters() {
  return { reason: reason.value, order_uid: uid.value.trim(), period: period.value, state: state.value };
}

/** Shows how many letters there are of each reason; null when that is not known. */
export function showCounts(counted) {
  const chosen = reason.value;
  const more = counted?.complete === false ? "+" : "";
  const many = (number) => (counted === null ? "" : ` (${number}${more})`);
  offer(reason, ["", ...Object.keys(words.reasons)], (name) =>
    name === "" ? `${words.anyReason}${many(counted?.total)}` : `${words.reasons[name]}${many(counted?.counts[name] ?? 0)}`,
  );
  reason.value = chosen;
}

function offer(choice, names, text) {
  choice.replaceChildren(...names.map((name) => element("option", { value: name }, text(name))));
}
