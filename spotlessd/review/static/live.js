// What changed at the station, as it happens. A hidden page lets its connection go: a browser has only six for one
// station, and the first message after coming back tells how things are.

export function listen(onChange, onConnection) {
  let source = null;

  function open() {
    if (source !== null || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("open", () => onConnection(true));
    source.addEventListener("error", () => {
      onConnection(false);
      // A refusal (503, a new token) ends an EventSource for good; ask again later.
      if (source?.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 5000);
      }
    });
    source.addEventListener("change", (event) => onChange(JSON.parse(event.data)));
  }

  function close() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
