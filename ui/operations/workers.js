// The tables of the workers and of the partitions' lag.

import { adminToken } from "../common/admin-token.js";
import { element, icon } from "../common/elements.js";
import { grid } from "./grid.js";
import { words } from "./words.js";
import { drawing } from "./plot.js";
import { pauseButton } from "./pauses.js";
import { duration, NONE, number, size } from "./quantities.js";

const FULL_BAR = 100;
const TROUBLED = { outage: "bad", dead: "bad", retrying: "warm", braked: "warm", paused: "warm", draining: "warm", starting: "warm" };

/** Returns the table of workers; without workers, a panel that says how to start them. */
export function workerTable(workers, now) {
  if (workers.length === 0) return emptyPanel(words.noWorkersTitle, words.noWorkersText, "orderflow engine");
  const columns = [
    { head: words.worker },
    { head: words.state, kind: "state-cell" },
    { head: words.partitions },
    { head: words.messages, kind: "figure" },
    { head: words.lastCommit, kind: "figure" },
    { head: words.memory, kind: "figure" },
    { head: words.restarts, kind: "figure" },
  ];
  return grid(words.workers, "workers", columns, workers.map((worker) => workerRow(worker, now, hostOf(worker, workers))));
}

/** Returns a worker's host, with its supervisor if the host has several workers of this name. */
export function hostOf(worker, workers) {
  const sameName = workers.filter(({ host, worker: name }) => host === worker.host && name === worker.worker);
  return sameName.length > 1 ? `${worker.host} · ${worker.supervisor}` : worker.host;
}

function workerRow(worker, now, host) {
  const dead = worker.state === "dead";
  const upS = (now - new Date(worker.started_at)) / 1000;
  const { messages, rejected } = worker.counters;
  return {
    kind: dead ? "dead" : "",
    cells: [
      [element("strong", {}, worker.worker), note(dead ? host : `${host} · ${worker.pid}`)],
      [statePill(worker.state), heard(worker.heartbeat_age_s)],
      [worker.partitions.join(", ") || NONE],
      [number(messages), note(`${number(rejected)} ${words.rejected}`)],
      [worker.since_commit_s === null ? NONE : words.before(duration(worker.since_commit_s))],
      [size(worker.memory_peak_kib)],
      [number(worker.restarts), !dead && note(`${words.up} ${duration(Math.max(0, upS))}`)],
    ],
  };
}

function heard(ageS) {
  return ageS !== null && note(`${words.heard} ${words.before(duration(ageS))}`);
}

function statePill(state) {
  const tone = TROUBLED[state] ?? "good";
  return element("span", { class: `pill ${tone}` }, tone === "bad" && icon("warning"), words.states[state] ?? state);
}

function note(text) {
  return element("small", {}, text);
}

/** Returns the table of partitions. Bars are relative to the largest lag, but at least to `FULL_BAR` messages. */
export function lagTable(partitions) {
  if (partitions.length === 0) return emptyPanel(words.noPartitionsTitle, words.noPartitionsText, "orderflow topics create");
  const controlled = adminToken() !== null && partitions.some((partition) => partition.paused_at === null);
  const columns = [
    { head: words.partition },
    { head: words.lag, kind: "lag" },
    { head: words.delay, kind: "figure" },
    { head: words.nextOffset, kind: "figure" },
    { head: words.endOffset, kind: "figure" },
    { head: words.owner, kind: "owner" },
    ...(controlled ? [{ head: words.control, kind: "act" }] : []),
  ];
  const maxLag = Math.max(FULL_BAR, ...partitions.map(({ lag }) => lag ?? 0));
  return grid(words.lagTitle, "lags", columns, partitions.map((partition) => lagRow(partition, maxLag, controlled)));
}

function lagRow(partition, maxLag, controlled) {
  const write = (value) => (value === null ? NONE : number(value));
  return {
    cells: [
      [String(partition.partition), partition.paused_at !== null && element("span", { class: "pill warm" }, words.states.paused)],
      [
        element("span", {}, write(partition.lag)),
        bar((partition.lag ?? 0) / maxLag),
        partition.held_by_transaction > 0 && note(`${number(partition.held_by_transaction)} ${words.heldBack}`),
      ],
      [duration(partition.lag_s)],
      [write(partition.next_offset)],
      [write(partition.end_offset)],
      [ownerOf(partition.owner)],
      ...(controlled ? [[pauseButton(partition)]] : []),
    ],
  };
}

/** Returns the owner of a partition: a worker with its host as a note, or a foreign member. */
function ownerOf(owner) {
  if (owner === null) return NONE;
  if (owner === "foreign") return element("span", { class: "pill bad" }, icon("warning"), words.stranger);
  const place = owner.lastIndexOf("/");
  return element("span", {}, owner.slice(place + 1), note(owner.slice(0, place)));
}

function bar(share) {
  return drawing(
    "svg",
    { class: "lag-bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawing("rect", { width: (100 * share).toFixed(1), height: 1 }),
  );
}

/** Returns a panel that says why there is no data, and which command helps. */
export function emptyPanel(title, text, command = null) {
  return element(
    "section",
    { class: "state" },
    element("h2", {}, title),
    element("p", {}, text),
    command !== null && element("code", { class: "state-uid" }, command),
  );
}
