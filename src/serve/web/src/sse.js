// Server-sent events out of a stream of bytes: yields the data of each event. Lines may end in \n, \r\n or \r, and may
// be cut anywhere, within a character too. An event that the stream ends in the middle of is dropped, as the standard
// says.
export async function* readEvents(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let pending = '';
  let data = [];
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      pending += decoder.decode(value, { stream: true });
      while (true) {
        const end = pending.search(/[\r\n]/);
        // A \r at the very end may be the first half of \r\n.
        if (end < 0 || (pending[end] === '\r' && end + 1 === pending.length)) {
          break;
        }
        const line = pending.slice(0, end);
        pending = pending.slice(pending.startsWith('\r\n', end) ? end + 2 : end + 1);
        if (line === '') {
          if (data.length > 0) {
            yield data.join('\n');
          }
          data = [];
        } else if (line.startsWith('data:')) {
          data.push(line.slice(line[5] === ' ' ? 6 : 5));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
