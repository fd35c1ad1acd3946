// The states of the services, and the alarms.

import { element, icon } from "../common/elements.js";
import { count, milliseconds } from "../common/format.js";
import { translateError, words } from "./words.js";
import { NONE } from "./quantities.js";
import { hostOf } from "./workers.js";

const LONG_TRANSACTION_S = 60;

/**
 * Returns the state of every service as a list.
 * @param {Object<string, object>} services The services in the last snapshot.
 * @param {boolean} live Whether the snapshot is current. Otherwise the states are shown as unknown.
 */
export function serviceList(services, live) {
  return element(
    "ul",
    { class: "services", "aria-label": words.servicesTitle },
    ...Object.entries(services).map(([name, part]) => {
      const [kind, drawing, state, more] = live ? currentState(name, part) : lastState(part);
      return element(
        "li",
        { class: kind },
        element("span", { class: "service-name" }, words.services[name] ?? name),
        element("span", { class: "service-state" }, icon(drawing), state),
        element("span", { class: "service-detail" }, more),
      );
    }),
  );
}

function currentState(name, part) {
  if (part.status === "ok") return ["service", "check", words.well, detail(name, part)];
  // Its state is read from PostgreSQL, which does not answer.
  if (part.error?.startsWith("not known")) return ["service unknown", "unknown", words.unknown, translateError(part.error)];
  return ["service unwell", "warning", words.unwell, detail(name, part)];
}

function lastState({ status }) {
  return ["service unknown", "unknown", words.unknown, status === "ok" ? words.wasWell : words.wasUnwell];
}

function detail(name, part) {
  if (part.status !== "ok") return translateError(part.error ?? NONE);
  switch (name) {
    case "engine":
      return liveWorkers(part.workers);
    case "dead_letters":
      return part.waiting === 0 ? words.noLetterWaits : count(words.letterWaits, part.waiting);
    case "kafka":
      return count(words.broker, part.brokers);
    default:
      return milliseconds(part.duration_ms);
  }
}

/** Returns the live workers by state: the alarms tell of the dead ones. */
function liveWorkers(workers) {
  const alive = Object.entries(workers).filter(([state]) => state !== "dead");
  return alive.map(([state, number]) => `${words.states[state] ?? state}: ${number}`).join(", ");
}

/**
 * Returns the alarms: a text, and optionally more text and the command that fixes it.
 * @returns {{text: string, more: string, command: string}[]}
 */
export function findAlarms(workers, services) {
  return [...alarmsOfWorkers(workers), ...alarmsOfPartitions(services.engine ?? {}, services.kafka ?? {})];
}

/** An open transaction is an alarm only after a while: with transactional producers one is nearly always open. */
function alarmsOfPartitions({ foreign }, { held_s: heldS, no_leader: leaderless }) {
  const alarms = [];
  if (foreign?.length > 0) {
    alarms.push({ text: words.foreign(foreign.join(", ")), more: words.foreignText, command: "orderflow doctor" });
  }
  if (leaderless?.length > 0) alarms.push({ text: words.leaderless(leaderless.join(", ")), more: words.leaderlessText });
  const behind = Object.entries(heldS ?? {}).filter(([, seconds]) => seconds === null || seconds > LONG_TRANSACTION_S);
  if (behind.length > 0) alarms.push({ text: words.held(behind.map(([partition]) => partition).join(", ")), more: words.heldText });
  return alarms;
}

function refusal(partition, { offset, reason, detail, fix }) {
  const what = words.refusals[reason] ?? detail ?? reason;
  const where = offset === null ? "" : ` (${words.atOffset(offset)})`;
  return { text: words.refused(partition), more: `${what}${where}${detail && detail !== what ? `: ${detail}` : ""}`, command: fix };
}

function alarmsOfWorkers(workers) {
  return workers.flatMap((worker) => {
    const name = `${worker.worker} (${hostOf(worker, workers)})`;
    const alarms = [];
    if (worker.state === "dead") alarms.push({ text: words.dead(name) });
    if (worker.state === "braked") alarms.push({ text: words.braked(name), command: "orderflow brake release" });
    for (const [service, tries] of worker.state === "dead" ? [] : Object.entries(worker.outages)) {
      const text = words.outage(name, words.outageServices[service] ?? service);
      alarms.push({ text, more: count(words.tries, tries) });
    }
    for (const [partition, why] of Object.entries(worker.refused)) alarms.push(refusal(partition, why));
    return alarms;
  });
}

/** Returns the alarms as a list, which may be empty. */
export function alarmList(alarms) {
  return element(
    "ul",
    { class: "alarms", "aria-label": words.alarmsTitle },
    ...alarms.map(({ text, more, command }) =>
      element(
        "li",
        {},
        icon("warning"),
        element("span", {}, element("strong", {}, text), more ? element("span", {}, " · ", more) : null),
        command ? element("code", {}, command) : null,
      ),
    ),
  );
}
