// --- logs that are dropped or opened ---------------------------------------------------------------------------------
class Drop {
  constructor(studio) {
    this.studio = studio;
    const here = byId("drop-here"), holds = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    window.addEventListener("dragover", (event) => { if (holds(event)) { event.preventDefault(); here.hidden = false; } });
    window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) here.hidden = true; });
    window.addEventListener("drop", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      here.hidden = true;
      this.take([...event.dataTransfer.files]);
    });
    byId("open").onclick = () => byId("file").click();
    byId("file").onchange = (event) => { this.take([...event.target.files]); event.target.value = ""; };
  }

  async take(files) {
    let taken = 0;
    // Before the reading, so that a panel which is chosen meanwhile stays open.
    if (files.some((file) => file.size <= this.most)) this.studio.panels.opened("logs");
    for (const file of files) {
      if (file.size > this.most) { // before a byte is read
        message(`${file.name} has ${counted(Math.round(file.size / 2 ** 20))} MB, and the page takes ${counted(this.most / 2 ** 20)} MB; for a larger log: laju diagnose LOG`);
        continue;
      }
      try {
        await post(`/api/drop?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream");
        taken += 1;
      } catch (error) { message(error.message); }
    }
    if (!taken) return;
    message("");
    this.studio.panels.refreshAll();
  }
}
