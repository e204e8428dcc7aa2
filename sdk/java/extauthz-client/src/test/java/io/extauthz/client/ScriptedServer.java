package io.extauthz.client;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;

/** A real HTTP server with one scripted answer for each request, the last of them for all that follow. */
final class ScriptedServer implements AutoCloseable {

    /** Answers one request. */
    interface Script {
        void answer(ScriptedServer server, HttpExchange exchange) throws IOException;
    }

    /** A request that arrived. */
    record Arrived(String method, String target, Map<String, String> headers, String body, long nanos) {

        String path() {
            return URI.create(target).getRawPath();
        }

        /** Returns the parameters of a form, of one name joined with a space. */
        Map<String, String> form() {
            var found = new TreeMap<String, String>();
            for (String pair : body.isEmpty() ? new String[0] : body.split("&")) {
                String[] halves = pair.split("=", 2);
                found.merge(decoded(halves[0]), decoded(halves[1]), (first, second) -> first + " " + second);
            }
            return found;
        }

        private static String decoded(String text) {
            return URLDecoder.decode(text, StandardCharsets.UTF_8);
        }
    }

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        var thread = new Thread(task, "scripted-server");
        thread.setDaemon(true);
        return thread;
    });
    private final CountDownLatch ended = new CountDownLatch(1);
    private final List<Arrived> requests = Collections.synchronizedList(new ArrayList<>());
    private final List<Script> scripts;
    private final AtomicInteger next = new AtomicInteger();
    private final String scheme;

    private ScriptedServer(HttpServer server, String scheme, List<Script> scripts) {
        this.server = server;
        this.scheme = scheme;
        this.scripts = scripts;
        server.setExecutor(threads);
        server.createContext("/", this::serve);
        server.start();
    }

    static ScriptedServer of(Script... scripts) {
        return at(0, scripts);
    }

    static ScriptedServer at(int port, Script... scripts) {
        try {
            var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
            return new ScriptedServer(HttpServer.create(address, 0), "http", List.of(scripts));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static ScriptedServer tls(SSLContext settings, Script... scripts) throws IOException {
        var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
        HttpsServer server = HttpsServer.create(address, 0);
        server.setHttpsConfigurator(new HttpsConfigurator(settings));
        return new ScriptedServer(server, "https", List.of(scripts));
    }

    private void serve(HttpExchange exchange) throws IOException {
        var headers = new TreeMap<String, String>(String.CASE_INSENSITIVE_ORDER);
        exchange.getRequestHeaders().forEach((name, values) -> headers.put(name, String.join(", ", values)));
        String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        requests.add(new Arrived(
                exchange.getRequestMethod(), exchange.getRequestURI().toString(), headers, body, System.nanoTime()));
        try (exchange) {
            scripts.get(Math.min(next.getAndIncrement(), scripts.size() - 1)).answer(this, exchange);
        }
    }

    URI url() {
        return URI.create(scheme + "://localhost:" + server.getAddress().getPort());
    }

    int port() {
        return server.getAddress().getPort();
    }

    List<Arrived> requests() {
        synchronized (requests) {
            return List.copyOf(requests);
        }
    }

    /** Returns how many requests had this path. */
    long asked(String path) {
        return requests().stream().filter(each -> each.path().equals(path)).count();
    }

    @Override
    public void close() {
        ended.countDown();
        server.stop(0);
        threads.shutdown();
    }

    static Script says(int status, String json, String... headers) {
        return bytes(status, json == null ? new byte[0] : json.getBytes(StandardCharsets.UTF_8), headers);
    }

    static Script bytes(int status, byte[] body, String... headers) {
        return (server, exchange) -> {
            for (int index = 0; index < headers.length; index += 2) {
                exchange.getResponseHeaders().add(headers[index], headers[index + 1]);
            }
            exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            if (body.length > 0) {
                exchange.getResponseBody().write(body);
            }
        };
    }

    /** Closes the connection without an answer. */
    static final Script DISCONNECTS = (server, exchange) -> {};

    /** Never answers; the server's end is the end of it. */
    static final Script IS_SILENT = (server, exchange) -> server.untilEnd();

    /** Begins an answer and never ends it. */
    static final Script STOPS_IN_THE_BODY = (server, exchange) -> {
        exchange.sendResponseHeaders(200, 100);
        exchange.getResponseBody().write('{');
        exchange.getResponseBody().flush();
        server.untilEnd();
    };

    /** Answers with spaces without an end, until the client has had enough. */
    static Script spaces(long announced) {
        return (server, exchange) -> {
            exchange.sendResponseHeaders(200, announced);
            byte[] chunk = new byte[65536];
            java.util.Arrays.fill(chunk, (byte) ' ');
            OutputStream body = exchange.getResponseBody();
            for (long sent = 0; sent < 256L << 20; sent += chunk.length) {
                body.write(chunk);
            }
        };
    }

    private void untilEnd() throws IOException {
        try {
            if (!ended.await(60, TimeUnit.SECONDS)) {
                throw new IOException("the test did not end the server");
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }
}
