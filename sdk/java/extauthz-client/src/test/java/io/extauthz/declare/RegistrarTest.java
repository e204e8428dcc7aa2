package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ServiceKey;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class RegistrarTest {

    private static final String REGISTERED = """
            [{"id": "018f", "name": "invoice:read", "serviceName": "billing", "displayName": "invoice:read",
              "defaultRoles": [], "routes": [{"host": null, "methods": ["GET"], "path": "/invoices/{number}",
              "action": "read", "authentication": "required"}]}]""";

    private record Answer(int status, String body) { }

    private final BlockingQueue<Answer> answers = new LinkedBlockingQueue<>();
    private final BlockingQueue<RegistrationState> states = new LinkedBlockingQueue<>();
    private final BlockingQueue<String> requests = new LinkedBlockingQueue<>();
    private HttpServer server;

    @BeforeEach
    void serve() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            requests.add(exchange.getRequestURI() + " "
                    + new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            Answer answer = answers.remove();
            byte[] body = answer.body().getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.getResponseHeaders().set("X-Policy-Revision", "7");
            exchange.sendResponseHeaders(answer.status(), body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private ExtauthzClient client() {
        return client(server.getAddress().getPort());
    }

    private static ExtauthzClient client(int port) {
        return ExtauthzClient.builder(URI.create("http://127.0.0.1:" + port), new ServiceKey("sak_live_secret"))
                .attempts(1)
                .build();
    }

    private static Declared declared() {
        return Declarations.collect(
                List.of(DeclarationsTest.endpoint("read", "GET /invoices/{number}",
                        DeclarationsTest.declaration("invoice:read"))),
                "billing", Options.none());
    }

    private Registrar.Builder registrar(ExtauthzClient client, Supplier<Declared> declared) {
        return Registrar.builder(client, declared).firstPause(Duration.ofMillis(5)).listener(states::add);
    }

    private static String problem(int status, String title, String detail, String errors) {
        return "{\"status\": %d, \"title\": \"%s\", \"detail\": \"%s\", \"errors\": %s}"
                .formatted(status, title, detail, errors);
    }

    @Test
    void registersInADaemonThread() throws InterruptedException {
        answers.add(new Answer(201, REGISTERED));
        var daemon = new LinkedBlockingQueue<Boolean>();
        try (ExtauthzClient client = client();
                Registrar registrar = registrar(client, () -> {
                    daemon.add(Thread.currentThread().isDaemon());
                    return declared();
                }).build()) {
            assertInstanceOf(RegistrationState.Pending.class, registrar.state());
            registrar.start();
            registrar.start();
            assertEquals(
                    new RegistrationState.Registered(List.of("invoice:read"), OptionalLong.of(7)),
                    states.take());
            assertEquals(List.of(true), List.copyOf(daemon));
        }
        assertEquals(1, requests.size());
        String request = requests.remove();
        assertTrue(request.startsWith("/api/v1/resources/list "), request);
        assertTrue(request.contains("\"/invoices/{number}\""), request);
    }

    @Test
    void refusalIsTriedAgainAndNamesClassMethodAndFix() throws InterruptedException {
        answers.add(new Answer(409, problem(409, "Conflict", "taken",
                "[{\"pointer\": \"/0\", \"message\": \"the name belongs to the service 'orders'\"}]")));
        answers.add(new Answer(201, REGISTERED));
        String message;
        try (ExtauthzClient client = client(); Registrar registrar = registrar(client, RegistrarTest::declared).build()) {
            registrar.start();
            message = assertInstanceOf(RegistrationState.Failing.class, states.take()).message();
            assertInstanceOf(RegistrationState.Registered.class, states.take());
        }
        assertEquals(
                "extauthz refused the registration: 409 Conflict: taken; 'invoice:read' of com.acme.Invoices.read: the"
                        + " name belongs to the service 'orders'; use another name or path here, or delete the other"
                        + " one at extauthz",
                message);
    }

    @Test
    void serverThatIsAwayIsTriedAgain() throws InterruptedException, IOException {
        int port;
        try (var free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        try (ExtauthzClient client = client(port); Registrar registrar = registrar(client, RegistrarTest::declared).build()) {
            registrar.start();
            var failing = assertInstanceOf(RegistrationState.Failing.class, states.take());
            assertTrue(failing.message().startsWith("extauthz cannot be reached"), failing.message());
        }
    }

    @Test
    void requiredRegistrationFailsAtTheFirstRefusal() {
        answers.add(new Answer(401, problem(401, "Unauthorized", "bad key", "[]")));
        try (ExtauthzClient client = client();
                Registrar registrar = registrar(client, RegistrarTest::declared).required(Duration.ofSeconds(30)).build()) {
            var error = assertThrows(RegistrationException.class, registrar::start);
            assertTrue(error.getMessage().contains("EXTAUTHZ_SERVICE_API_KEY"), error.getMessage());
            assertFalse(error.getMessage().contains("sak_live_secret"), error.getMessage());
        }
        assertEquals(1, requests.size());
    }

    @Test
    void requiredRegistrationWaitsWhileTheServerIsNotReady() {
        answers.add(new Answer(503, problem(503, "Service Unavailable", "starting", "[]")));
        answers.add(new Answer(201, REGISTERED));
        try (ExtauthzClient client = client();
                Registrar registrar = registrar(client, RegistrarTest::declared).required(Duration.ofSeconds(30)).build()) {
            registrar.start();
            assertInstanceOf(RegistrationState.Registered.class, registrar.state());
        }
    }

    @Test
    void requiredRegistrationEndsInTime() {
        answers.add(new Answer(503, problem(503, "Service Unavailable", "starting", "[]")));
        try (ExtauthzClient client = client();
                Registrar registrar = Registrar.builder(client, RegistrarTest::declared)
                        .firstPause(Duration.ofSeconds(60)).required(Duration.ofMillis(500)).build()) {
            var error = assertThrows(RegistrationException.class, registrar::start);
            assertTrue(error.getMessage().contains("503"), error.getMessage());
        }
    }

    @Test
    void nothingDeclaredIsRegisteredWithoutACall() throws InterruptedException {
        try (ExtauthzClient client = client();
                Registrar registrar = registrar(client,
                        () -> Declarations.collect(List.of(), "billing", Options.none())).build()) {
            registrar.start();
            assertEquals(
                    new RegistrationState.Registered(List.of(), OptionalLong.empty()),
                    states.take());
        }
        assertTrue(requests.isEmpty());
    }

    @Test
    void failureInTheApplicationIsAStateAndDoesNotEndIt() throws InterruptedException {
        try (ExtauthzClient client = client();
                Registrar registrar = registrar(client, () -> {
                    throw new IllegalStateException("no mappings");
                }).build()) {
            registrar.start();
            var failing = assertInstanceOf(RegistrationState.Failing.class, states.take());
            assertTrue(failing.message().contains("no mappings"), failing.message());
        }
    }

    @Test
    void closingEndsTheThread() throws InterruptedException {
        answers.add(new Answer(503, problem(503, "Service Unavailable", "starting", "[]")));
        var thread = new LinkedBlockingQueue<Thread>();
        try (ExtauthzClient client = client()) {
            Registrar registrar = registrar(client, () -> {
                thread.add(Thread.currentThread());
                return declared();
            }).firstPause(Duration.ofSeconds(60)).build();
            registrar.start();
            assertInstanceOf(RegistrationState.Failing.class, states.take());
            registrar.close();
            assertFalse(thread.remove().isAlive());
        }
    }
}
