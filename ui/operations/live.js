// Listens to a stream of events, and to it again whenever it breaks off.

/** A stream that says nothing for so long is broken, whatever the browser believes. */
const SILENCE_MS = 5000;
const REOPEN_MS = 2000;

/**
 * Listens for as long as the page can be seen: a hidden one would keep one of the browser's few connections.
 * @param {string} address
 * @param {(event: object) => void} onEvent
 * @param {(state: "live"|"reconnecting") => void} onState Called with every change, and again while it lasts.
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
      // The browser itself tries again, save after an answer that is no stream.
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
