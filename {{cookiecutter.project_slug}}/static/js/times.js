// Show dates in the reader's time zone and format; without scripts, the server's text stays.

const pageLanguage = document.documentElement.lang;
const language =
  navigator.languages.find((name) => name.startsWith(pageLanguage)) ?? pageLanguage;
const format = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/** Rewrite every <time datetime="…"> inside `root`. */
export function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    element.title = element.textContent;
    element.textContent = format.format(new Date(element.dateTime));
  }
}

localise(document);
