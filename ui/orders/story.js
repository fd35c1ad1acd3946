// The story of an order: the times of its processing steps, its batch and worker, and its dead letters.

import { announce } from "../common/announcing.js";
import { copyButton } from "../common/copying.js";
import { element, icon } from "../common/elements.js";
import { count, instant } from "../common/format.js";
import { letterAddress } from "../common/letter-address.js";
import { oddity, oddNote } from "../common/odd-times.js";
import { day, duration, timeOfDay } from "./moments.js";
import { fetchStory } from "./story-requests.js";
import { words } from "./story-words.js";

/** Returns the section of an order's story, and starts to load it. */
export function storySection(uid) {
  const title = element("h3", { id: "story", tabindex: "-1" }, icon("route"), words.story, element("span", { class: "hint" }, words.hint));
  const total = element("p", { class: "story-total" });
  const body = element("div", { class: "story-body" });
  const section = element("section", { class: "story", "aria-labelledby": "story" }, element("header", {}, title, total), body);
  const load = async () => {
    body.replaceChildren(outline());
    total.textContent = "";
    const answer = await fetchStory(uid, new AbortController().signal);
    if (answer.kind === "found") {
      total.replaceChildren(...totalOf(answer.story));
      body.replaceChildren(...parts(answer.story, reload));
    } else body.replaceChildren(failure(words[answer.kind], reload));
    return words[answer.kind];
  };
  /** Loads the story reload after a click. The clicked button is removed, so the title gets the focus. */
  const reload = async () => {
    title.focus();
    announce(words.loading);
    announce(await load());
  };
  load();
  return section;
}

function outline() {
  const bones = Array.from({ length: 5 }, () => element("span", { class: "bone" }));
  return element("div", { class: "story-outline", "aria-hidden": "true" }, ...bones);
}

function failure(text, retry) {
  return element("div", { class: "story-failure" }, element("p", {}, text), button(words.retry, retry));
}

function button(label, action) {
  const made = element("button", { type: "button", class: "secondary" }, label);
  made.addEventListener("click", action);
  return made;
}

function totalOf(story) {
  const took = story.steps.at(-1)?.since_published_ms ?? null;
  return took === null ? [] : [element("strong", {}, duration(took)), ` ${words.total}`];
}

function parts(story, reload) {
  return [
    story.steps.some(({ at }) => at !== null) && timeline(story, reload),
    facts(story),
    ...notes(story).map((text) => element("p", { class: "story-note" }, text)),
    story.dead_letters.length > 0 && letters(story),
  ].filter(Boolean);
}

function timeline(story, reload) {
  const ends = endsOf(story.steps);
  const [first, last] = [Math.min(...ends), Math.max(...ends)];
  let shownDay = "";
  const rows = story.steps.map((step, position) => {
    const today = step.at === null ? shownDay : day(new Date(step.at));
    const newDay = today === shownDay ? null : today;
    shownDay = today;
    return element(
      "li",
      { class: step.at === null ? "missing" : "known" },
      element("span", { class: "step-name" }, words.steps[step.step]),
      step.at === null ? missing(step, story, reload) : time(step.at, newDay, step.step === "published"),
      step.after_ms !== null && bar(step.after_ms, ends[position] - first, last - first),
      step.after_ms !== null && took(step.after_ms),
    );
  });
  return element("ol", { class: "steps" }, ...rows);
}

/** Returns the end of each step in milliseconds after the first known one: more precise than a Date. */
function endsOf(steps) {
  let end = 0;
  return steps.map(({ after_ms: ms }) => (end += ms ?? 0));
}

function missing(step, story, reload) {
  const expected = step.step === "cached" && story.batch !== null;
  return element("span", { class: "step-time" }, expected ? words.notYet : words.unknown, expected && button(words.lookAgain, reload));
}

/** Returns a bar that shows a step of `ms` milliseconds, which ended at `end`, within the total time `span`. */
function bar(ms, end, span) {
  const part = element("span", { class: "step-part" });
  if (span > 0) {
    part.style.left = `min(${(100 * Math.min(end, end - ms)) / span}%, 100% - 4px)`;
    part.style.width = `${(100 * Math.abs(ms)) / span}%`;
  }
  return element("span", { class: "step-bar", "aria-hidden": "true" }, part);
}

function took(ms) {
  return element(
    "span",
    { class: ms < 0 ? "step-took odd" : "step-took" },
    ms < 0 ? "" : "+",
    duration(ms),
    element("span", { class: "visually-hidden" }, ` ${words.after}`),
  );
}

/**
 * Shows an instant in the reader's time zone, with its day if that is a new one, and the exact UTC time as a tooltip. A time
 * that a producer has sent may be odd.
 */
function time(at, newDay, sent) {
  const why = sent ? oddity(Date.parse(at)) : null;
  return element(
    "time",
    { class: "step-time", datetime: at, title: at },
    newDay !== null && element("span", { class: "step-day" }, newDay),
    " ",
    element("span", {}, timeOfDay(new Date(at))),
    why !== null && " ",
    why !== null && oddNote(why),
  );
}

function facts({ batch_id: batchId, batch, source, trace_id: traceId }) {
  const entries = [];
  if (batchId !== null) {
    entries.push(fact(words.batch, batchId, words.copyBatch, batch && count(words.messages, batch.messages)));
  }
  if (batch !== null) {
    entries.push(fact(words.worker, `${batch.worker}@${batch.host}`, words.copyWorker, `${words.group} ${batch.consumer_group}`));
  }
  if (source !== null) {
    const own = source.came_as === "message" || source.came_as === "replay";
    entries.push(fact(own ? words.message : words.latestMessage, place(source), words.copyMessage, placeInWords(source, own)));
  }
  if (traceId !== null) entries.push(fact(words.trace, traceId, words.copyTrace));
  return entries.length > 0 && element("dl", { class: "story-facts" }, ...entries);
}

function fact(name, value, copyLabel, more) {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element("dd", {}, element("code", {}, value), copyButton(copyLabel, () => value, { iconOnly: true })),
    more && element("dd", { class: "more" }, more),
  );
}

/** Returns the place of a message, in the form of the command line. */
function place({ topic, partition, offset }) {
  return `${topic ?? ""} ${partition}:${offset}`.trim();
}

function placeInWords({ partition, offset, produced_at: producedAt }, own) {
  const where = `${words.partition} ${partition}, ${words.offset} ${offset}`;
  return own ? where : `${where}, ${words.published} ${producedAt === null ? words.unknown : exactlyProduced(producedAt)}`;
}

function exactlyProduced(at) {
  const why = oddity(Date.parse(at));
  return why === null ? exactly(at) : `${exactly(at)} (${why})`;
}

function exactly(at) {
  return `${day(new Date(at))}, ${timeOfDay(new Date(at))}`;
}

function notes({ batch_id: batchId, batch, source, steps, created_at: created, updated_at: updated }) {
  const texts = [];
  if (steps.some(({ after_ms: ms }) => ms < 0)) texts.push(words.clocksText);
  if (batch !== null && created !== updated) texts.push(`${words.changed} ${exactly(created)}. ${words.changedText}`);
  if (batchId === null) texts.push(words.byHandText);
  else if (batch === null) texts.push(words.prunedText);
  if (source?.came_as === "repeat") texts.push(words.repeatText);
  if (source?.came_as === "replay") texts.push(words.replayText);
  return texts;
}

/** Returns the dead letters of a story, with links to them. */
export function letters({ dead_letters: found, more_dead_letters: more }) {
  return element(
    "div",
    { class: "story-letters" },
    element("h4", {}, words.deadLetters, element("span", { class: "count" }, more ? `${found.length}+` : found.length), more && ` ${words.lastLetters}`),
    element("ol", {}, ...found.map(letterLine)),
  );
}

function letterLine(letter) {
  const resolved = letter.resolved_at !== null;
  return element(
    "li",
    {},
    letterLink(letter),
    element("code", { class: "letter-reason" }, letter.reason),
    element("span", {}, `${words.failed} `, moment(letter.failed_at)),
    letter.replay_count > 0 && element("span", {}, count(words.replays, letter.replay_count)),
    element("span", { class: resolved ? "letter-state resolved" : "letter-state" }, resolved ? `${words.resolved} ` : words.unresolved, resolved && moment(letter.resolved_at)),
  );
}

function letterLink(letter) {
  return element("a", { class: "search-link", href: letterAddress(`${letter.partition}:${letter.offset}`) }, element("code", {}, place(letter)));
}

function moment(at) {
  return element("time", { datetime: at, title: at }, instant(new Date(at)));
}
