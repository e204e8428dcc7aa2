package io.extauthz.spring;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import tools.jackson.databind.json.JsonMapper;

/** An API of extauthz that answers registrations and checks as it is told to. */
final class ScriptedExtauthz implements AutoCloseable {

    private static final JsonMapper JSON = JsonMapper.builder().build();

    /** What was asked: the caller's headers, and the body. */
    record Asked(String path, String authorization, String key, Object body) { }

    /** An answer in place of the usual one. */
    record Refusal(int status, String detail, List<Map<String, String>> errors) { }

    final BlockingQueue<Asked> registrations = new LinkedBlockingQueue<>();
    final BlockingQueue<Asked> checks = new LinkedBlockingQueue<>();
    final BlockingQueue<Refusal> refusals = new LinkedBlockingQueue<>();
    final Map<String, String> decisions = new ConcurrentHashMap<>();
    volatile String keys = "{\"keys\": []}";
    private final HttpServer server;

    ScriptedExtauthz() {
        this(0);
    }

    ScriptedExtauthz(int port) {
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        server.createContext("/", this::answer);
        server.start();
    }

    int port() {
        return server.getAddress().getPort();
    }

    String url() {
        return "http://127.0.0.1:" + port();
    }

    @Override
    public void close() {
        server.stop(0);
    }

    private void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        byte[] body = exchange.getRequestBody().readAllBytes();
        if (path.equals("/.well-known/jwks.json")) {
            send(exchange, 200, keys);
            return;
        }
        Asked asked = new Asked(
                path,
                exchange.getRequestHeaders().getFirst("Authorization"),
                exchange.getRequestHeaders().getFirst("X-Service-Api-Key"),
                JSON.readValue(body, Object.class));
        if (path.equals("/api/v1/check")) {
            checks.add(asked);
            Map<?, ?> members = (Map<?, ?>) asked.body();
            String decision = decisions.getOrDefault(String.valueOf(members.get("resource")), "deny");
            send(exchange, decision.equals("allow") ? 200 : 403, JSON.writeValueAsString(Map.of(
                    "decision", decision, "reason", decision.equals("allow") ? "rule_matched" : "no_matching_rule",
                    "decision_id", "0190-1", "policy_revision", 7, "message", "m")));
            return;
        }
        registrations.add(asked);
        Refusal refusal = refusals.poll();
        if (refusal == null) {
            exchange.getResponseHeaders().set("X-Policy-Revision", "7");
            send(exchange, 201, JSON.writeValueAsString(registered((List<?>) asked.body())));
        } else {
            send(exchange, refusal.status(), JSON.writeValueAsString(Map.of(
                    "status", refusal.status(), "title", "Refused", "detail", refusal.detail(),
                    "errors", refusal.errors())));
        }
    }

    private static List<Object> registered(List<?> documents) {
        var answer = new ArrayList<>();
        for (Object document : documents) {
            var resource = new LinkedHashMap<String, Object>();
            ((Map<?, ?>) document).forEach((name, value) -> resource.put(String.valueOf(name), value));
            resource.put("id", "0190");
            var routes = new ArrayList<>();
            for (Object each : (List<?>) resource.get("routes")) {
                var route = new LinkedHashMap<String, Object>(Map.of("action", "access", "authentication", "required"));
                ((Map<?, ?>) each).forEach((name, value) -> route.put(String.valueOf(name), value));
                routes.add(route);
            }
            resource.put("routes", routes);
            answer.add(resource);
        }
        return answer;
    }

    /** Returns the routes of a registration as {@code resource METHODS path}. */
    static List<String> routes(Asked registration) {
        var found = new ArrayList<String>();
        for (Object each : (List<?>) registration.body()) {
            Map<?, ?> resource = (Map<?, ?>) each;
            for (Object route : (List<?>) resource.get("routes")) {
                Map<?, ?> members = (Map<?, ?>) route;
                String methods = String.join(",", ((List<?>) members.get("methods")).stream().map(String::valueOf).toList());
                found.add(resource.get("name") + " " + methods + " " + members.get("path"));
            }
        }
        found.sort(null);
        return found;
    }

    private static void send(HttpExchange exchange, int status, String body) throws IOException {
        byte[] octets = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, octets.length);
        exchange.getResponseBody().write(octets);
        exchange.close();
    }
}
