// The rows ask for themselves again, unless somebody wants them to hold still, or nobody sees them.

const live = document.querySelector("[data-live]");

document.querySelector("#rows").addEventListener("htmx:beforeRequest", (event) => {
  if (!live.checked || document.hidden) event.preventDefault();
});
