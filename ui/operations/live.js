// Listens to a stream of events, and reconnects when it ends.

/** A stream without events for this time is broken, even if the browser does not notice. */
const SILENCE_MS = 5000;
const REOPEN_MS = 2000;

/**
 * Listens while the page is visible: a hidden page would keep one of the browser's few connections.
 * @param {string} address
 * @param {(event: object) => void} onEvent
 * @param {(state: "live"|"reconnecting") => void} onState Called after every event and error, also without a change.
 */
export function listen(address, onEvent, onState) {
  let source = null;
  let timer = 0;

  function close() {
    clearTimeout(timer);
    source?.close();
  }

  function open() {
    close();
    source = new EventSource(address);
    source.onmessage = ({ data }) => {
      reopenAfter(SILENCE_MS);
      onState("live");
      onEvent(JSON.parse(data));
    };
    source.onerror = () => {
      onState("reconnecting");
      // The browser reconnects by itself, except after an answer that is not a stream.
      if (source.readyState === EventSource.CLOSED) reopenAfter(REOPEN_MS);
    };
    reopenAfter(SILENCE_MS);
  }

  function reopenAfter(delay) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      onState("reconnecting");
      open();
    }, delay);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
}
