// Copies of all SQLite files of the data directory, each whole although the server writes: what a backup needs.
// "copy" writes them, "remove" removes them after the backup, "put-back" replaces the files by them, before the server
// starts. So after a restore the server must be started again.
const fs = require("node:fs");
const path = require("node:path");
const Database = require("/app/node_modules/better-sqlite3");

const DATA = process.env.ACTUAL_DATA_DIR;
const COPIES = path.join(DATA, "backup");

const databases = (below) =>
  fs.existsSync(below)
    ? fs.readdirSync(below, { recursive: true }).filter((name) => name.endsWith(".sqlite") && !name.startsWith("backup/"))
    : [];

const commands = {
  async copy() {
    commands.remove();
    for (const name of databases(DATA)) {
      fs.mkdirSync(path.dirname(path.join(COPIES, name)), { recursive: true });
      const database = new Database(path.join(DATA, name), { readonly: true, fileMustExist: true });
      await database.backup(path.join(COPIES, name));
      database.close();
    }
  },
  remove() {
    fs.rmSync(COPIES, { recursive: true, force: true });
  },
  "put-back"() {
    for (const name of databases(COPIES)) {
      for (const rest of ["-journal", "-wal", "-shm"]) fs.rmSync(path.join(DATA, name + rest), { force: true });
      fs.copyFileSync(path.join(COPIES, name), path.join(DATA, name));
    }
    commands.remove();
  },
};

const command = commands[process.argv[2]];
if (!command) {
  console.error("usage: sqlite_backup.cjs copy|remove|put-back");
  process.exit(2);
}
Promise.resolve(command()).catch((error) => {
  console.error(error);
  process.exit(1);
});
