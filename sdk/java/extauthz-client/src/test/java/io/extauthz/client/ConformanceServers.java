package io.extauthz.client;

import io.extauthz.client.ConformanceComparison.Request;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * The API and the identity provider of a case: real sockets that follow one list of exchanges. A request after
 * the last exchange of the current step is a problem, as is one that differs.
 */
final class ConformanceServers implements AutoCloseable {

    private static final Set<String> NO_CONNECTION = Set.of("refused", "closed_before");

    private final Map<String, Server> servers = new LinkedHashMap<>();
    private final ConformanceAssertions assertions;
    private List<Map<?, ?>> exchanges = List.of();
    private int position;
    private int end;
    private boolean refusedNow;

    /** A GET whose connection was lost: the JDK's client sends it again at once, and cannot be told not to. */
    private Map<?, ?> repeatable;

    final List<String> problems = new ArrayList<>();
    final List<String> tokens = new ArrayList<>();

    /** The service key that every request to the API has, null with client credentials. */
    String serviceKey;

    ConformanceServers(ConformanceAssertions assertions) throws IOException {
        this.assertions = assertions;
        servers.put("api", new Server("api"));
        servers.put("provider", new Server("provider"));
    }

    String address(String server) {
        return "http://127.0.0.1:" + servers.get(server).port;
    }

    synchronized void follow(List<Map<?, ?>> script) {
        exchanges = script;
    }

    @Override
    public void close() throws IOException {
        for (Server server : servers.values()) {
            server.close();
        }
    }

    /** Lets the exchanges of the next step happen. */
    synchronized void beginStep(int count) {
        end = position + count;
        noteRefused(true);
        prepare();
    }

    /** Takes note that the client waits: an attempt that was refused is over. */
    synchronized void paused() {
        repeatable = null;
        passRefused();
        noteRefused(true);
        prepare();
    }

    /** Takes note that the call has returned. */
    synchronized void endStep() {
        repeatable = null;
        passRefused();
        for (; position < end; position++) {
            problems.add(exchanges.get(position).get("request") + " did not happen");
        }
    }

    private void passRefused() {
        if (refusedNow) {
            position++;
            refusedNow = false;
        }
    }

    /** Notes whether the next connection, which is made before the next pause, is a refused one. */
    private void noteRefused(boolean goesOn) {
        refusedNow = goesOn && position < end && "refused".equals(connection(exchanges.get(position)));
    }

    /** Stops listening where the next connection is refused, and listens elsewhere. */
    private void prepare() {
        Map<?, ?> due = position < end ? exchanges.get(position) : Map.of();
        servers.forEach((name, server) -> {
            try {
                if (name.equals(to(due)) && "refused".equals(connection(due))) {
                    server.refuse();
                } else {
                    server.listen();
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        });
    }

    /** Returns the exchange of a request, or of a connection without one; null where none is due. */
    private synchronized Map<?, ?> take(String server, Request request) {
        String shown = request == null ? "a connection" : request.method() + " " + request.target();
        if (repeatable != null && server.equals(to(repeatable))) {
            Map<?, ?> repeated = repeatable;
            repeatable = null;
            if (request == null || ConformanceComparison.ofRequest(repeated, request).isEmpty()) {
                return repeated;
            }
        }
        if (position >= end) {
            problems.add(server + " got " + shown + " after the last exchange of the step");
            return null;
        }
        Map<?, ?> exchange = exchanges.get(position++);
        if (!server.equals(to(exchange))) {
            problems.add(server + " got " + shown + ", where " + exchange.get("request") + " was due at the other");
            return null;
        }
        if (request != null) {
            problems.addAll(ConformanceComparison.ofRequest(exchange, request));
            if (server.equals("api")) {
                compareCredential(request);
            } else if (exchange.containsKey("assertion")) {
                problems.addAll(assertions.differences(exchange, request));
            }
        }
        Map<?, ?> answer = ConformanceCases.object(exchange, "answer");
        if (server.equals("provider") && answer.get("json") instanceof Map<?, ?> json && json.containsKey("access_token")) {
            tokens.add(String.valueOf(json.get("access_token")));
        }
        repeatable = isLostGet(exchange) ? exchange : null;
        // After these the client goes on without a pause.
        int status = answer.get("status") instanceof Number number ? number.intValue() : 502;
        noteRefused(status < 300 || status == 401);
        return exchange;
    }

    private void compareCredential(Request request) {
        String key = request.header("x-service-api-key");
        String bearer = request.header("authorization");
        String wantedKey = tokens.isEmpty() ? serviceKey : null;
        String wantedBearer = tokens.isEmpty() ? null : "Bearer " + tokens.get(tokens.size() - 1);
        if (!Objects.equals(key, wantedKey) || !Objects.equals(bearer, wantedBearer)) {
            problems.add("the credential is " + key + ", " + bearer + ", not " + wantedKey + ", " + wantedBearer);
        }
    }

    /** Tells whether the connection of an answer can be used again. */
    private synchronized boolean keepsAlive(String server) {
        for (Map<?, ?> each : exchanges.subList(Math.min(position, exchanges.size()), exchanges.size())) {
            if (server.equals(to(each))) {
                return !NO_CONNECTION.contains(String.valueOf(connection(each)));
            }
        }
        return true;
    }

    private static boolean isLostGet(Map<?, ?> exchange) {
        return ((String) exchange.get("request")).startsWith("GET ")
                && Set.of("closed_before", "closed", "reset").contains(String.valueOf(connection(exchange)));
    }

    private synchronized boolean closesBefore(String server) {
        if (repeatable != null && server.equals(to(repeatable))) {
            return "closed_before".equals(connection(repeatable));
        }
        return position < end
                && server.equals(to(exchanges.get(position)))
                && "closed_before".equals(connection(exchanges.get(position)));
    }

    private static Object to(Map<?, ?> exchange) {
        return exchange.containsKey("to") ? exchange.get("to") : "api";
    }

    private static Object connection(Map<?, ?> exchange) {
        return ConformanceCases.object(exchange, "answer").get("connection");
    }

    /** A port of loopback that is either listened on or refuses connections. */
    private final class Server {

        private final String name;
        private final int port;
        private final Set<Socket> connections = new HashSet<>();

        /** Keeps the port while nothing listens on it. */
        private final Socket reserved = new Socket();

        private ServerSocket listener;

        Server(String name) throws IOException {
            this.name = name;
            reserved.setOption(StandardSocketOptions.SO_REUSEPORT, true);
            reserved.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0));
            port = reserved.getLocalPort();
        }

        void listen() throws IOException {
            if (listener == null) {
                listener = new ServerSocket();
                listener.setOption(StandardSocketOptions.SO_REUSEPORT, true);
                listener.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port));
                ServerSocket accepting = listener;
                start(() -> accept(accepting));
            }
        }

        void refuse() throws IOException {
            if (listener != null) {
                listener.close();
                listener = null;
            }
        }

        void close() throws IOException {
            List<Socket> open;
            synchronized (ConformanceServers.this) {
                refuse();
                open = List.copyOf(connections);
            }
            for (Socket connection : open) {
                connection.close();
            }
            reserved.close();
        }

        private void start(Runnable work) {
            var thread = new Thread(work, "conformance-" + name);
            thread.setDaemon(true);
            thread.start();
        }

        private void accept(ServerSocket accepting) {
            while (true) {
                try {
                    Socket connection = accepting.accept();
                    synchronized (ConformanceServers.this) {
                        if (closesBefore(name)) {
                            take(name, null);
                            prepare();
                            connection.close();
                            continue;
                        }
                        connections.add(connection);
                    }
                    start(() -> serve(connection));
                } catch (IOException error) {
                    return;
                }
            }
        }

        private void serve(Socket connection) {
            try (connection) {
                InputStream input = new BufferedInputStream(connection.getInputStream());
                Request request = read(input);
                while (request != null && answered(connection, input, request)) {
                    request = read(input);
                }
            } catch (IOException error) {
                // The client went away, which is its right.
            } finally {
                synchronized (ConformanceServers.this) {
                    connections.remove(connection);
                }
            }
        }

        /** Answers as the script says; tells whether the connection goes on. */
        private boolean answered(Socket connection, InputStream input, Request request) throws IOException {
            Map<?, ?> exchange;
            boolean kept;
            synchronized (ConformanceServers.this) {
                exchange = take(name, request);
                prepare();
                kept = exchange != null && keepsAlive(name);
            }
            Map<?, ?> answer = exchange == null ? Map.of("status", 400) : ConformanceCases.object(exchange, "answer");
            OutputStream output = connection.getOutputStream();
            switch (String.valueOf(answer.get("connection"))) {
                case "closed" -> {
                    return false;
                }
                case "reset" -> {
                    connection.setSoLinger(true, 0);
                    return false;
                }
                case "silent" -> {
                    return input.read() < 0 && false;
                }
                case "truncated" -> {
                    byte[] encoded = encoded(answer, kept);
                    output.write(encoded, 0, encoded.length - 1);
                    return false;
                }
                default -> {
                    output.write(encoded(answer, kept));
                    return kept;
                }
            }
        }
    }

    /** Reads a request; null at the end of the connection. */
    private static Request read(InputStream input) throws IOException {
        String line = line(input);
        if (line.isEmpty()) {
            return null;
        }
        String[] parts = line.split(" ");
        var headers = new ArrayList<Map.Entry<String, String>>();
        for (String field = line(input); !field.isEmpty(); field = line(input)) {
            int colon = field.indexOf(':');
            headers.add(Map.entry(field.substring(0, colon).toLowerCase(Locale.ROOT), field.substring(colon + 1).strip()));
        }
        var head = new Request(parts[0], parts[1], headers, new byte[0]);
        var body = new ByteArrayOutputStream();
        if ("chunked".equals(head.header("transfer-encoding"))) {
            for (int size = size(input); size > 0; size = size(input)) {
                body.writeBytes(input.readNBytes(size));
                line(input);
            }
            line(input);
        } else if (head.header("content-length") != null) {
            body.writeBytes(input.readNBytes(Integer.parseInt(head.header("content-length"))));
        }
        return new Request(parts[0], parts[1], headers, body.toByteArray());
    }

    private static int size(InputStream input) throws IOException {
        return Integer.parseInt(line(input), 16);
    }

    private static String line(InputStream input) throws IOException {
        var line = new ByteArrayOutputStream();
        for (int octet = input.read(); octet >= 0 && octet != '\n'; octet = input.read()) {
            line.write(octet);
        }
        return line.toString(StandardCharsets.ISO_8859_1).stripTrailing();
    }

    private static byte[] encoded(Map<?, ?> answer, boolean kept) {
        int status = ((Number) answer.get("status")).intValue();
        byte[] body = body(answer);
        var headers = new LinkedHashMap<Object, Object>(ConformanceCases.object(answer, "headers"));
        if (body != null) {
            headers.putIfAbsent("content-type", status < 400 ? "application/json" : "application/problem+json");
        }
        if (!kept) {
            headers.put("connection", "close");
        }
        byte[] content = body == null ? new byte[0] : body;
        if ("chunked".equals(answer.get("connection"))) {
            headers.put("transfer-encoding", "chunked");
            content = chunks(content);
        } else if (status != 204) {
            headers.put("content-length", String.valueOf(content.length));
        }
        var head = new StringBuilder("HTTP/1.1 " + status + " Status\r\n");
        headers.forEach((name, value) -> {
            for (Object each : value instanceof List<?> values ? values : List.of(value)) {
                head.append(name).append(": ").append(each).append("\r\n");
            }
        });
        var encoded = new ByteArrayOutputStream();
        encoded.writeBytes(head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1));
        encoded.writeBytes(content);
        return encoded.toByteArray();
    }

    private static byte[] chunks(byte[] content) {
        var chunks = new ByteArrayOutputStream();
        for (int index = 0; index < content.length; index++) {
            chunks.writeBytes("1\r\n".getBytes(StandardCharsets.US_ASCII));
            chunks.writeBytes(Arrays.copyOfRange(content, index, index + 1));
            chunks.writeBytes("\r\n".getBytes(StandardCharsets.US_ASCII));
        }
        chunks.writeBytes("0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
        return chunks.toByteArray();
    }

    private static byte[] body(Map<?, ?> answer) {
        if (answer.containsKey("json")) {
            return Json.write(answer.get("json"));
        }
        if (answer.get("text") instanceof String text) {
            return text.getBytes(StandardCharsets.UTF_8);
        }
        if (answer.get("octets") instanceof String text) {
            return ConformanceCases.octets(text);
        }
        if (answer.get("repeat") instanceof Map<?, ?> repeat) {
            String before = repeat.get("before") instanceof String text ? text : "";
            String after = repeat.get("after") instanceof String text ? text : "";
            int times = ((Number) repeat.get("times")).intValue();
            return (before + ((String) repeat.get("text")).repeat(times) + after).getBytes(StandardCharsets.UTF_8);
        }
        return null;
    }
}
