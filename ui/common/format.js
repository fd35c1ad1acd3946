// Formats numbers, money and instants in the reader's language.

import { language } from "./language.js";

const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
const plurals = new Intl.PluralRules(language);
const instants = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/** Formats an amount in whole units of a currency. An unknown currency is shown as its code. */
export function money(amount, currency) {
  try {
    return new Intl.NumberFormat(language, {
      style: "currency",
      currency,
      currencyDisplay: "narrowSymbol",
      minimumFractionDigits: 0,
      maximumFractionDigits: 0,
    }).format(amount);
  } catch {
    return `${numbers.format(amount)} ${currency}`;
  }
}

/** Formats a number with its noun. `forms` are the noun's forms by plural category, such as one and other. */
export function count(forms, number) {
  return `${numbers.format(number)} ${forms[plurals.select(number)] ?? forms.other}`;
}

/** Formats a whole number. */
export function shownNumber(number) {
  return numbers.format(number);
}

/** Formats a discount in whole percents, such as −30%; an en dash for 0. */
export function discount(sale) {
  return sale > 0 ? `−${percents.format(sale / 100)}` : "–";
}

/** Formats an instant in the reader's time zone; an en dash for an invalid date. */
export function instant(date) {
  return Number.isNaN(date.getTime()) ? "–" : instants.format(date);
}

/** Formats a duration in milliseconds. */
export function milliseconds(duration) {
  const digits = duration < 10 ? 1 : 0;
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: "millisecond",
    unitDisplay: "short",
    maximumFractionDigits: digits,
  }).format(duration);
}
