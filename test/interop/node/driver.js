// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
// The loop that both Node clients share: commands and events as JSON lines (see ../peer.py).
const readline = require('node:readline');

function say(id, event, fields = {}) {
  process.stdout.write(JSON.stringify({ id, event, ...fields }) + '\n');
}

/** Replies as they come, and their number. */
class Replies {
  constructor(id) {
    this.id = id;
    this.all = [];
  }

  add(reply) {
    this.all.push(reply);
    say(this.id, 'message', { reply: this.all.length <= 10 ? reply : null });
    return this.all.length;
  }
}

function run(client) {
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const command = JSON.parse(line);
    try {
      await client[command.op](command);
      if (command.op !== 'call') say(command.id, 'done');
    } catch (error) { // whatever a user of these libraries would have seen
      say(command.id, 'error', { text: String(error.stack) });
    }
  }).on('close', () => process.exit(0));
}

module.exports = { Replies, run, say };
