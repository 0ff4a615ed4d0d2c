# Runs one NATS server at the word of its standard input, and takes it away with all it wrote when that closes: nothing is
# left behind, however the test ends. SERVER, FOLDER and PORT are given.
start() {
  "$SERVER" --addr 127.0.0.1 --port "$PORT" --jetstream --store_dir "$FOLDER/data" >>"$FOLDER/log" 2>&1 &
  server=$!
}

start
while read -r word; do
  case $word in
    start) start ;;
    kill) kill -KILL "$server" && wait "$server" ;;
  esac
done
kill -KILL "$server" 2>/dev/null
wait "$server"
rm -rf "$FOLDER"
