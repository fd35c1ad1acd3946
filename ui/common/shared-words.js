// The words that all pages share, in the reader's language.

import { inLanguage } from "./language.js";

export const sharedWords = inLanguage({
  en: {
    pages: "Pages",
    ordersPage: "Orders",
    operationsPage: "Operations",
    deadLettersPage: "Dead letters",
    loading: "Loading…",
    retry: "Try again",
    networkTitle: "The server cannot be reached",
    networkText: "Check your connection, then try again.",
    copy: "Copy",
    copied: "Copied",
    odd: {
      zero: "the zero time of Go and .NET: no time was set",
      unixZero: "the zero of Unix time: no time was set",
      future: "dated in the future",
      year: (year) => `in the year ${year}`,
      unit: (year, unit) => `in the year ${year}: looks like ${unit}`,
      units: { seconds: "seconds", milliseconds: "milliseconds", microseconds: "microseconds", nanoseconds: "nanoseconds" },
    },
  },
  ru: {
    pages: "Страницы",
    ordersPage: "Заказы",
    operationsPage: "Работа системы",
    deadLettersPage: "Отклонённые",
    loading: "Ищем…",
    retry: "Повторить",
    networkTitle: "Сервер недоступен",
    networkText: "Проверьте соединение и попробуйте ещё раз.",
    copy: "Копировать",
    copied: "Скопировано",
    odd: {
      zero: "нулевое время Go и .NET: время не задано",
      unixZero: "нулевое время Unix: время не задано",
      future: "дата в будущем",
      year: (year) => `${year} год`,
      unit: (year, unit) => `${year} год: похоже, это ${unit}`,
      units: { seconds: "секунды", milliseconds: "миллисекунды", microseconds: "микросекунды", nanoseconds: "наносекунды" },
    },
  },
});
