// Formats instants to the millisecond, and durations, in the reader's language.

import { milliseconds } from "../common/format.js";
import { language } from "../common/language.js";

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const days = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
/** Units of time with their length in seconds, longest first. */
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** Formats the time of day in the reader's time zone, to the millisecond. */
export function timeOfDay(date) {
  return clock.format(date);
}

/** Formats the day in the reader's time zone. */
export function day(date) {
  return days.format(date);
}

/** Formats a duration in one or two units; a negative one with a minus sign. */
export function duration(ms) {
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1000) return milliseconds(ms);
  if (ms < 60_000) return inUnit("second", ms / 1000, 2);
  const seconds = Math.round(ms / 1000);
  const first = UNITS.findIndex(([, length]) => seconds >= length);
  const [[unit, length], [smaller, part]] = UNITS.slice(first);
  const rest = Math.floor((seconds % length) / part);
  const whole = inUnit(unit, Math.floor(seconds / length), 0);
  return rest > 0 ? `${whole} ${inUnit(smaller, rest, 0)}` : whole;
}

function inUnit(unit, number, digits) {
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(number);
}
