"use strict";
(() => {
  // A link without a token, in the browser that has been given the token before.
  const asked = new URLSearchParams(location.search).has("token");
  let token = null;
  try {
    if (asked) localStorage.removeItem("laju-token");
    token = localStorage.getItem("laju-token");
  } catch { /* a browser that stores nothing */ }
  if (asked) document.getElementById("why").textContent = "This token is of another studio. Open the address that laju studio printed last.";
  else if (token) location.replace(`/?token=${encodeURIComponent(token)}${location.hash}`);
})();
