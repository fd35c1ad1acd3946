// The filters of the list, with the number of letters of each reason.

import { element } from "../common/elements.js";
import { periods } from "../common/letter-address.js";
import { words } from "./words.js";

const form = document.getElementById("filters");
const { reason, order_uid: uid, period, state } = form.elements;

/** The field of the order's uid. */
export const uidField = uid;

/** Fills the filters' options, and calls `changed` with the filters after each change. */
export function offerFilters(changed) {
  offer(period, ["", ...periods], (name) => words.periods[name]);
  offer(state, ["", "all"], (name) => words.stateFilters[name]);
  showCounts(null);
  const notify = () => changed(readFilters());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    notify();
  });
  for (const choice of [reason, period, state]) choice.addEventListener("change", notify);
  // Clearing a search field with its own button sends only this event.
  uid.addEventListener("search", () => uid.value === "" && notify());
}

/** Sets the filters' fields. With `keepUid`, a uid that was typed stays. */
export function showFilters(filters, { keepUid }) {
  reason.value = filters.reason in words.reasons ? filters.reason : "";
  if (!keepUid || uid.value === "") uid.value = filters.order_uid;
  period.value = periods.includes(filters.period) ? filters.period : "";
  state.value = filters.state === "all" ? "all" : "";
}

/** Returns the chosen filters. */
export function readFilters() {
  return { reason: reason.value, order_uid: uid.value.trim() === "" ? "" : uid.value, period: period.value, state: state.value };
}

/** Shows the number of letters of each reason; null: unknown. */
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
