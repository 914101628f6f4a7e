// Show dates in the reader's time zone and format; without scripts, the server's text stays.

const pageLanguage = document.documentElement.lang;
const language =
  navigator.languages.find((name) => name.startsWith(pageLanguage)) ?? pageLanguage;
const format = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/** Rewrite every <time datetime="…"> inside `root`. */
function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    element.title = element.textContent;
    element.textContent = format.format(new Date(element.dateTime));
  }
}

localise(document);
// Scripts send this event from elements that they add. They do not import this module: the name of
// its file has a hash, and a module with two names runs twice.
document.addEventListener("added", ({ target }) => localise(target));
