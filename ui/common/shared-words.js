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
  },
});
