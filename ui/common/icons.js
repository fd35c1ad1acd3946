// The icons of all pages, 20 by 20. They are part of the page, so that errors have icons when the server is unreachable.

const ICONS = `<svg xmlns="http://www.w3.org/2000/svg" class="icon-sheet" aria-hidden="true">
  <symbol id="icon-search" viewBox="0 0 20 20"><circle cx="8.5" cy="8.5" r="5.5"/><path d="m13 13 4.5 4.5"/></symbol>
  <symbol id="icon-copy" viewBox="0 0 20 20"><rect x="7" y="7" width="10" height="10" rx="2"/><path d="M13 4.5V4a1.5 1.5 0 0 0-1.5-1.5h-7A1.5 1.5 0 0 0 3 4v7a1.5 1.5 0 0 0 1.5 1.5H5"/></symbol>
  <symbol id="icon-check" viewBox="0 0 20 20"><path d="m4 10.5 4 4 8-9"/></symbol>
  <symbol id="icon-bolt" viewBox="0 0 20 20"><path d="M11 2.5 4.5 11.5H9l-.5 6 6.5-9h-4.5z"/></symbol>
  <symbol id="icon-disk" viewBox="0 0 20 20"><ellipse cx="10" cy="5" rx="6.5" ry="2.5"/><path d="M3.5 5v10c0 1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5V5M3.5 10c0 1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5"/></symbol>
  <symbol id="icon-box" viewBox="0 0 20 20"><path d="m10 2.5 6.5 3.5v8L10 17.5 3.5 14V6zM3.5 6 10 9.7 16.5 6M10 9.7v7.8"/></symbol>
  <symbol id="icon-parcel" viewBox="0 0 20 20"><path d="M10 17.5s-5.5-4.8-5.5-9a5.5 5.5 0 0 1 11 0c0 4.2-5.5 9-5.5 9z"/><circle cx="10" cy="8.3" r="2"/></symbol>
  <symbol id="icon-card" viewBox="0 0 20 20"><rect x="2.5" y="4.5" width="15" height="11" rx="2"/><path d="M2.5 8.5h15M5.5 12.5h3"/></symbol>
  <symbol id="icon-route" viewBox="0 0 20 20"><circle cx="5" cy="4.5" r="2"/><circle cx="15" cy="15.5" r="2"/><path d="M7 4.5h5.5a2.75 2.75 0 0 1 0 5.5h-5a2.75 2.75 0 0 0 0 5.5H13"/></symbol>
  <symbol id="icon-missing" viewBox="0 0 20 20"><circle cx="8.5" cy="8.5" r="5.5"/><path d="m13 13 4.5 4.5M6.7 6.7l3.6 3.6M10.3 6.7l-3.6 3.6"/></symbol>
  <symbol id="icon-warning" viewBox="0 0 20 20"><path d="M10 3 2.5 16.5h15zM10 8v4M10 14.3v.2"/></symbol>
  <symbol id="icon-pause" viewBox="0 0 20 20"><path d="M7 4.5v11M13 4.5v11"/></symbol>
  <symbol id="icon-lock" viewBox="0 0 20 20"><rect x="4" y="9" width="12" height="8" rx="2"/><path d="M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9"/></symbol>
  <symbol id="icon-unlock" viewBox="0 0 20 20"><rect x="4" y="9" width="12" height="8" rx="2"/><path d="M6.5 9V6a3.5 3.5 0 0 1 6.7-1.4"/></symbol>
  <symbol id="icon-again" viewBox="0 0 20 20"><path d="M16 10a6 6 0 1 1-1.9-4.4M16 3v3.5h-3.5"/></symbol>
  <symbol id="icon-pencil" viewBox="0 0 20 20"><path d="m3.5 16.5.8-3.6L13 4.2a1.6 1.6 0 0 1 2.3 0l.5.5a1.6 1.6 0 0 1 0 2.3l-8.7 8.7z"/></symbol>
  <symbol id="icon-eye" viewBox="0 0 20 20"><path d="M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10z"/><circle cx="10" cy="10" r="2.3"/></symbol>
  <symbol id="icon-back" viewBox="0 0 20 20"><path d="M12 4.5 6.5 10l5.5 5.5"/></symbol>
  <symbol id="icon-unknown" viewBox="0 0 20 20"><path d="M7 7.2a3 3 0 1 1 4.6 2.5c-1 .7-1.6 1.3-1.6 2.6M10 15.6v.2"/></symbol>
</svg>`;

document.body.append(new DOMParser().parseFromString(ICONS, "image/svg+xml").documentElement);

/** Returns the address of an icon, for a `use` element. */
export function iconAddress(name) {
  return `#icon-${name}`;
}
