// Light or dark, as was chosen here last, before anything is painted. Not chosen: as the system has it.
'use strict';
try {
  const chosen = localStorage.getItem('greenlane-theme');
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* A browser that keeps nothing has the system's. */ }
