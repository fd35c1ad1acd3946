// The error messages of the decoder in Russian. What stands in their places, such as a byte, is kept.

const WANTED = {
  "a string": "должна быть строка",
  "a whole number": "должно быть целое число",
  "an object": "должен быть объект",
  "an array": "должен быть массив",
};
const KINDS = {
  null: "null",
  "true or false": "true или false",
  "a number": "число",
  text: "текст",
  "an array": "массив",
  "an object": "объект",
};
const KIND = Object.keys(KINDS).join("|");
const TIME_MISTAKES = {
  "the zone is missing": "нет часового пояса",
  "the time of day is missing": "нет времени суток",
  "the seconds are missing": "нет секунд",
  "a T must stand before the time of day": "перед временем суток должна стоять T",
  "a zone is written as Z or as +03:00": "часовой пояс пишется как Z или +03:00",
  "there is no such time": "такого времени не бывает",
  "it is outside the years 1 to 9999 in UTC": "оно вне 1–9999 годов по UTC",
  "it is blank": "здесь пусто",
  "it is a number": "здесь число",
};
const SYNTAX = {
  "a comma or a closing bracket is missing": "не хватает запятой или закрывающей скобки",
  "a colon is missing": "не хватает двоеточия",
  "a name in double quotes is missing": "не хватает имени в двойных кавычках",
  "a value is missing": "не хватает значения",
  "a line break or another control character in a text is not escaped": "перевод строки или другой управляющий символ в тексте не экранирован",
  "an unknown escape stands": "неизвестная escape-последовательность",
  "an apostrophe stands where a double quote belongs": "апостроф вместо двойной кавычки",
  "a comma stands before a closing bracket": "лишняя запятая перед закрывающей скобкой",
  "a comment stands": "комментарий",
  "None, True or False stands where null, true or false belongs": "None, True или False вместо null, true или false",
  "a number has a leading zero": "число начинается с нуля",
  "a mistake stands": "ошибка",
};
const CONNECT = "конверт Kafka Connect (schema, payload)";
const CHANGE = "событие изменения Debezium (before, after)";
const ITSELF = "должен быть сам заказ, а не";
const CONVERTER = "value.converter.schemas.enable=false";
const FRAME = "a schema registry's frame \\((.+)\\)";

const time = (_, example, mistake, kind) => {
  const detail = mistake ? `: ${TIME_MISTAKES[mistake] ?? mistake}` : kind ? `, а не ${KINDS[kind] ?? kind}` : "";
  return `должно быть время RFC 3339 с часовым поясом, например ${example}${detail}`;
};

/** Patterns of messages with their translations, as `String.replace` takes them: the first that matches counts. */
export const RUSSIAN = [
  [/^is required$/, "обязательное поле отсутствует"],
  [/^is not valid$/, "недопустимое значение"],
  [/^may be left out, not null$/, "поле можно опустить, но нельзя указать null"],
  [new RegExp(`^must be (${Object.keys(WANTED).join("|")}), not (${KIND})$`), (_, wanted, kind) => `${WANTED[wanted]}, а не ${KINDS[kind]}`],
  [/^must be (a string|a whole number|an object|an array)$/, (_, wanted) => WANTED[wanted]],
  [/^must be a whole number written without a fraction$/, "должно быть целое число, записанное без дробной части"],
  [/^must be a whole number written without an exponent$/, "должно быть целое число, записанное без экспоненты"],
  [/^must be from (-?\d+) to (-?\d+)$/, "должно быть от $1 до $2"],
  [/^must be at most (\d+) bytes of UTF-8$/, "не больше $1 байт в UTF-8"],
  [/^must not be blank$/, "не должно быть пустым"],
  [/^must not contain NUL$/, "не должно содержать символ NUL"],
  [/^must be valid Unicode$/, "должен быть корректный Unicode"],
  [/^must hold at least one item$/, "нужен хотя бы один товар"],
  [/^must be unique within the order$/, "не должно повторяться в заказе"],
  [/^must equal (.+)$/, "должно равняться $1"],
  [/^must be an RFC 3339 time with a zone, such as ([^\s,]+Z)(?:: (.+)|, not (.+))?$/, time],

  [/^must hold a JSON object, not a tombstone: this message has no value$/, "должен быть объект JSON, а не tombstone: у сообщения нет значения"],
  [/^must hold a JSON object, not 0 bytes$/, "должен быть объект JSON, а не 0 байт"],
  [/^must hold a JSON object, not only white space$/, "должен быть объект JSON, а не одни пробелы"],
  [/^must hold a JSON object$/, "должен быть объект JSON"],
  [/^must not be nested deeper than 1,000 levels$/, "вложенность не больше 1000 уровней"],
  [/^must be JSON without a byte-order mark in front$/, "должен быть JSON без метки порядка байтов (BOM) в начале"],
  [/^must be JSON in UTF-8, not in (\S+) \((\S+)\)( with a byte-order mark)?$/, (_, name, order, mark) => `должен быть JSON в UTF-8, а не в ${name} (${order})${mark ? " с меткой порядка байтов" : ""}`],
  [/^must be JSON in UTF-8: byte (\d+) is not UTF-8$/, "должен быть JSON в UTF-8: байт $1 — не UTF-8"],
  [/^must be JSON in UTF-8$/, "должен быть JSON в UTF-8"],
  [/^must be JSON, not compressed with (\w+): .+$/, "должен быть JSON, а не сжатые $1 данные: пусть сжимает продюсер Kafka (compression.type), а не приложение"],
  [new RegExp(`^must be JSON without ${FRAME}: (KAFKA_VALUE_FORMAT=\\S+) unwraps it$`), "должен быть JSON без заголовка schema registry ($1): $2 его снимает"],
  [new RegExp(`^must be JSON, not Avro or Protobuf in ${FRAME}$`), "должен быть JSON, а не Avro или Protobuf с заголовком schema registry ($1)"],
  [/^must be JSON, not a binary format such as Protobuf or Avro$/, "должен быть JSON, а не двоичный формат вроде Protobuf или Avro"],
  [/^must be JSON, not JSON in base64$/, "должен быть JSON, а не JSON в base64"],
  [/^must be JSON, not (.+)$/, "должен быть JSON, а не $1"],
  [/^must be JSON: it begins with neither \{ nor \[$/, "должен быть JSON: в начале нет ни {, ни ["],
  [/^must be a whole JSON document: it is cut off at byte (\d+)$/, "должен быть целый документ JSON: он обрывается на байте $1"],
  [/^must be a whole JSON document: it is cut off at byte (\d+), in a text that begins at byte (\d+)$/, "должен быть целый документ JSON: он обрывается на байте $1, в тексте, который начинается с байта $2"],
  [/^must be one JSON document, one order a message: another begins at byte (\d+)$/, "должен быть один документ JSON, один заказ в сообщении: с байта $1 начинается второй"],
  [/^must be a JSON document alone: NUL bytes follow it at byte (\d+)$/, "должен быть только документ JSON: с байта $1 идут нулевые байты"],
  [/^must be a JSON document alone: something follows it at byte (\d+)$/, "должен быть только документ JSON: с байта $1 идёт что-то ещё"],
  [/^must be JSON, which has no NaN and no Infinity: byte (\d+)$/, "должен быть JSON, в нём нет NaN и Infinity: байт $1"],
  [/^must be JSON: (.+) at byte (\d+)$/, (_, mistake, byte) => `должен быть JSON: ${SYNTAX[mistake] ?? mistake}, байт ${byte}`],

  [/^must begin with a schema registry's frame, 0x00 and a 4-byte id \((.+)\): this is JSON without one$/, "в начале должен быть заголовок schema registry: 0x00 и 4 байта id ($1); это JSON без него"],
  [/^must begin with a schema registry's frame, 0x00 and a 4-byte id \((.+)\)$/, "в начале должен быть заголовок schema registry: 0x00 и 4 байта id ($1)"],
  [/^must be an object of exactly schema and payload \((.+)\): this is an order without them$/, "должен быть объект ровно из schema и payload ($1), а это заказ без них"],
  [/^must be an object of exactly schema and payload \((.+)\): this one has other members too$/, "должен быть объект ровно из schema и payload ($1), а в этом есть и другое"],
  [new RegExp(`^must be an object of exactly schema and payload \\((.+)\\), not (${KIND})$`), (_, setting, kind) => `должен быть объект ровно из schema и payload (${setting}), а не ${KINDS[kind]}`],
  [/^must be an object of exactly schema and payload \((.+)\)$/, "должен быть объект ровно из schema и payload ($1)"],

  [/^must be an object, not an array: each order is a message of its own$/, "должен быть объект, а не массив: каждый заказ — отдельное сообщение"],
  [/^must be an object, not JSON within a text: it is encoded twice, as by an outbox$/, "должен быть объект, а не JSON внутри текста: он закодирован дважды, как из outbox"],
  [/^must be an object, not a text in base64$/, "должен быть объект, а не текст в base64"],
  [/^must be the order itself, not Kafka Connect's envelope \(schema, payload\): set \S+ there, or (\S+) here$/, `${ITSELF} ${CONNECT}: укажите ${CONVERTER} там или $1 здесь`],
  [/^must be the order itself, not Kafka Connect's envelope \(schema, payload\): set \S+$/, `${ITSELF} ${CONNECT}: укажите ${CONVERTER}`],
  [/^must be the order itself, not Kafka Connect's envelope \(schema, payload\) without an order in it$/, `${ITSELF} ${CONNECT}, в котором нет заказа`],
  [/^must be the order itself, not a change event of Debezium \(before, after\): (\S+) unwraps it$/, `${ITSELF} ${CHANGE}: его разворачивает $1`],
  [/^must be the order itself, not a change event of Debezium \(before, after\) in Kafka Connect's envelope .+, and let (\S+) unwrap it$/, `${ITSELF} ${CHANGE} внутри конверта Kafka Connect: укажите ${CONVERTER} и разверните его с $1`],
  [/^must be the order itself, not a CloudEvent around it: .+$/, `${ITSELF} CloudEvent вокруг него: отправляйте события в режиме binary`],
  [/^must be the order itself, not an object with its JSON in a text, as from an outbox: .+$/, `${ITSELF} объект с его JSON внутри текста, как из outbox: разверните JSON`],
  [/^must be the order itself, not JSON in a text in Kafka Connect's envelope .+$/, `${ITSELF} JSON внутри текста в конверте Kafka Connect, как из outbox: укажите ${CONVERTER} и разверните JSON`],
  [/^must be the order itself, not an object that holds it$/, `${ITSELF} объект вокруг него`],
];

/** The same for the labels of masked values. */
export const LABELS = [
  [/^••• text(?:, length (\d+))?$/, (_, length) => (length ? `••• текст, длина ${length}` : "••• текст")],
  [/^••• blank text(?:, length (\d+))?$/, (_, length) => (length ? `••• пустой текст, длина ${length}` : "••• пустой текст")],
  [/^••• number$/, "••• число"],
  [/^••• number with a fraction$/, "••• число с дробной частью"],
  [/^••• number with an exponent$/, "••• число с экспонентой"],
];

/** The same for what a message looks like. */
export const LOOKS = [
  [/^JSON with an error$/, "JSON с ошибкой"],
  [/^a binary format$/, "двоичный формат"],
  [/^text$/, "текст"],
  [new RegExp(`^JSON in ${FRAME}$`), "JSON с заголовком schema registry ($1)"],
  [new RegExp(`^${FRAME} without JSON in it$`), "не JSON с заголовком schema registry ($1)"],
  [/^(.+?)( with a byte-order mark)?; begins with (.+)$/, (_, name, mark, bytes) => `${name}${mark ? " с меткой порядка байтов" : ""}; начинается с ${bytes}`],
];
