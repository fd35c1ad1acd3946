// Translates error messages into the reader's language.

import { language } from "../common/language.js";

const RUSSIAN = [
  [/^is required$/, "обязательное поле отсутствует"],
  [/^is not valid$/, "недопустимое значение"],
  [/^must be an object$/, "должен быть объект"],
  [/^must be an array$/, "должен быть массив"],
  [/^must be a string$/, "должна быть строка"],
  [/^must be a whole number$/, "должно быть целое число"],
  [/^must be from (-?\d+) to (-?\d+)$/, "должно быть от $1 до $2"],
  [/^must be at most (\d+) bytes of UTF-8$/, "не больше $1 байт в UTF-8"],
  [/^must not be blank$/, "не должно быть пустым"],
  [/^must not contain NUL$/, "не должно содержать символ NUL"],
  [/^must be valid Unicode$/, "должен быть корректный Unicode"],
  [/^must hold at least one item$/, "нужен хотя бы один товар"],
  [/^must be unique within the order$/, "не должно повторяться в заказе"],
  [/^must equal (.+)$/, "должно равняться $1"],
  [/^must be an RFC 3339 time with a zone, such as (.+)$/, "должно быть время RFC 3339 с часовым поясом, например $1"],
  [/^must be JSON in UTF-8$/, "должен быть JSON в UTF-8"],
  [/^must hold a JSON object$/, "должен быть объект JSON"],
  [/^must not be nested deeper than 1,000 levels$/, "вложенность не больше 1000 уровней"],
];

/** Returns an error message in the reader's language; without a translation it stays in English. */
export function explain(message) {
  if (language !== "ru") return message;
  const known = RUSSIAN.find(([pattern]) => pattern.test(message));
  return known ? message.replace(...known) : message;
}
