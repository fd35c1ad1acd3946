// The operations page: shows the newest snapshot of a stream.

import { loadAccess } from "../common/admin-access.js";
import { announce } from "../common/announcing.js";
import { element } from "../common/elements.js";
import { translatePage } from "../common/language.js";
import { listen } from "./live.js";
import { words } from "./words.js";
import { listenToPauses, pauseAllButton, pauseList } from "./pauses.js";
import { makePlot } from "./plot.js";
import { compact, timeOfDay } from "./quantities.js";
import { refresh } from "./refresh.js";
import { alarmList, findAlarms, serviceList } from "./services.js";
import { emptyPanel, lagTable, workerTable } from "./workers.js";

const live = document.getElementById("live");
const now = document.getElementById("now");
const controls = document.getElementById("controls");
const plotOptions = { format: compact, formatTime: timeOfDay, times: words.ago };
const throughput = makePlot({
  ...plotOptions,
  title: words.throughput,
  unit: words.perSecond,
  series: [{ name: words.committed, kind: "first", filled: true }, { name: words.rejected, kind: "bad" }],
  summary: words.throughputSummary,
});
const latency = makePlot({
  ...plotOptions,
  title: words.latency,
  unit: words.milliseconds,
  series: [{ name: words.commitLatency, kind: "first" }, { name: words.cacheLatency, kind: "second" }],
  summary: words.latencySummary,
});
const plots = element("div", { class: "plots" }, throughput.element, latency.element);
const places = Object.fromEntries(["services", "alarms", "pauses", "workers", "lag"].map((name) => [name, element("div")]));
let alarmed = new Set();
let seenAt = null;
/** The services in the last snapshot. */
let services = {};

/** Shows whether the page is live. A change of state is announced, but not the first "live". */
function showState(state) {
  const before = live.dataset.state;
  live.dataset.state = state;
  live.textContent = words[state];
  if (seenAt !== null) live.append(" ", element("small", {}, words.asOf(timeOfDay(seenAt))));
  now.classList.toggle("stale", state !== "live");
  if (seenAt !== null) put("services", serviceList(services, state === "live"));
  if (state !== before && !(before === "connecting" && state === "live")) announce(words[state]);
}

function showSnapshot(snapshot) {
  if (seenAt === null) build();
  seenAt = new Date(snapshot.at);
  services = snapshot.services;
  showPauses(services.engine?.pauses ?? [], snapshot.partitions);
  showState("live");
  plots.classList.toggle("stale", snapshot.rates === null);
  if (snapshot.workers === null) {
    put("alarms", alarmList([]));
    put("workers", emptyPanel(words.unknownTitle, words.unknownText));
    put("lag", element("div"));
    return;
  }
  showAlarms(findAlarms(snapshot.workers, services));
  showRates(snapshot.rates);
  put("workers", workerTable(snapshot.workers, seenAt));
  put("lag", lagTable(snapshot.partitions));
}

function build() {
  const { alarms, pauses, workers, lag } = places;
  now.replaceChildren(places.services, alarms, pauses, plots, workers, lag);
  now.setAttribute("aria-busy", "false");
}

function put(name, fresh) {
  const [shown] = places[name].children;
  if (shown) refresh(shown, fresh);
  else places[name].append(fresh);
}

function showAlarms(alarms) {
  put("alarms", alarmList(alarms));
  const news = alarms.map(({ text }) => text).filter((text) => !alarmed.has(text));
  if (news.length > 0) announce(news.join(". "));
  alarmed = new Set(alarms.map(({ text }) => text));
}

function showPauses(pauses, partitions) {
  put("pauses", pauseList(pauses, partitions));
  const fresh = element("div", { id: "controls" }, pauseAllButton(pauses));
  refresh(controls, fresh);
}

function showRates({ bucket_s, until, committed, rejected, commit_ms, cache_ms }) {
  const instants = committed.map((_, place) => new Date((until - (committed.length - place) * bucket_s) * 1000));
  throughput.show([committed, rejected], instants);
  latency.show([commit_ms, cache_ms], instants);
}

document.title = `${words.title} · orderflow`;
translatePage(words);
showState("connecting");
loadAccess({ readOnlyText: words.readOnlyText });
listenToPauses(document.querySelector("main"));
listen("operations/events", showSnapshot, showState);
