// Trying rules takes seconds: say so, and send once. Without this script the forms work all the same.

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button?.dataset.busy) return;
    if (form.getAttribute("aria-busy") === "true") {
      event.preventDefault();
      return;
    }
    form.setAttribute("aria-busy", "true");
    button.textContent = button.dataset.busy;
  });
}

// Who comes back by the browser's button finds the form as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Where the help stands above all else that is to be seen, it is opened when it is asked for.
if (matchMedia("(max-width: 60rem)").matches) document.querySelector("#settings")?.removeAttribute("open");

const found = document.querySelector("#tried") ?? document.querySelector("[aria-invalid]");
found?.focus();
