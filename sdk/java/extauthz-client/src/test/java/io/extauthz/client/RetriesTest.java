package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.DISCONNECTS;
import static io.extauthz.client.ScriptedServer.IS_SILENT;
import static io.extauthz.client.ScriptedServer.STOPS_IN_THE_BODY;
import static io.extauthz.client.ScriptedServer.says;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ScriptedServer.Script;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class RetriesTest {

    private static final Script EMPTY = says(200, "{\"items\": [], \"next_cursor\": null}");
    private static final Script CREATED = says(
            201,
            "{\"id\": \"r1\", \"sub\": \"finance\", \"sub_kind\": \"role\", \"dom\": \"*\", \"obj\": \"i:read\","
                    + " \"act\": \"read\", \"effect\": \"allow\"}",
            "x-policy-revision",
            "7");
    private static final RoleRule RULE = new RoleRule("finance", "*", "i:read", "read", Effect.ALLOW);
    private static final Function<ExtauthzClient, Object> LISTING = ExtauthzClient::roleRules;
    private static final Function<ExtauthzClient, Object> CREATING = client -> client.createRoleRule(RULE);
    private static final Function<ExtauthzClient, Object> DELETING = client -> {
        client.deleteRoleRule("r1");
        return "deleted";
    };

    /** What a call returned or threw, and the requests that it made. */
    private record Called(Object found, List<ScriptedServer.Arrived> requests) {}

    private static ExtauthzClient.Builder client(URI url) {
        return ExtauthzClient.builder(url, new ServiceKey("sak_live_key"));
    }

    private static Called called(Function<ExtauthzClient, Object> call, Script... scripts) {
        return called(4, Duration.ofSeconds(10), call, scripts);
    }

    private static Called called(
            int attempts, Duration timeout, Function<ExtauthzClient, Object> call, Script... scripts) {
        try (var server = ScriptedServer.of(scripts);
                var client =
                        client(server.url()).attempts(attempts).timeout(timeout).build()) {
            Object found;
            try {
                found = call.apply(client);
            } catch (ExtauthzException error) {
                found = error;
            }
            return new Called(found, server.requests());
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {429, 502, 503, 504})
    void notNowIsAskedAgain(int status) {
        var called = called(LISTING, says(status, null), EMPTY);

        assertEquals(List.of(), called.found());
        assertEquals(2, called.requests().size());
    }

    @ParameterizedTest
    @ValueSource(ints = {400, 401, 403, 404, 409, 412, 422, 500, 501})
    void aRefusalIsNotAskedAgain(int status) {
        var called = called(LISTING, says(status, "{\"title\": \"No\", \"detail\": \"never\"}"), EMPTY);

        assertEquals(
                status, assertInstanceOf(ApiException.class, called.found()).status());
        assertEquals(1, called.requests().size());
    }

    @Test
    void theLastRefusalIsReported() {
        var called = called(LISTING, says(503, "{\"title\": \"Busy\"}"));

        assertEquals(
                "503 Busy", assertInstanceOf(ApiException.class, called.found()).getMessage());
        assertEquals(4, called.requests().size());
    }

    @Test
    void retryAfterIsWaitedFor() {
        var called = called(LISTING, says(503, null, "retry-after", "1"), EMPTY);

        assertEquals(List.of(), called.found());
        assertTrue(called.requests().get(1).nanos() - called.requests().get(0).nanos() >= 1_000_000_000L);
    }

    @Test
    void aLongRetryAfterIsLeftToTheCaller() {
        var called = called(LISTING, says(429, null, "retry-after", "3600"), EMPTY);

        var refused = assertInstanceOf(ApiException.class, called.found());
        assertEquals(3600, refused.retryAfterSeconds().orElseThrow());
        assertEquals(1, called.requests().size());
    }

    @Test
    void retryAfterIsANumberOfSecondsOrADate() {
        Instant now = Instant.parse("2026-11-29T10:00:00Z");

        assertEquals(7, RetryAfter.seconds(" 7 ", now));
        assertEquals(0, RetryAfter.seconds("0", now));
        for (String nothing : List.of("", "-1", "soon", "1.5", "\u0661", "Sun, 29 Nov 2026")) {
            assertEquals(null, RetryAfter.seconds(nothing, now), nothing);
        }
        Instant later = now.plusSeconds(60);
        String standard = DateTimeFormatter.RFC_1123_DATE_TIME.format(later.atZone(ZoneOffset.UTC));
        for (String date : List.of(standard, "Sunday, 29-Nov-26 10:01:00 GMT", "Sun Nov 29 10:01:00 2026")) {
            assertEquals(60, RetryAfter.seconds(date, now), date);
            assertEquals(0, RetryAfter.seconds(date, later.plusSeconds(9)), date);
        }
        assertEquals(8 * 86400, RetryAfter.seconds("Mon Dec  7 10:00:00 2026", now));
    }

    @Test
    void aRequestThatIsNotRepeatableIsNotSentAgain() {
        var unavailable = called(CREATING, says(503, null), CREATED);
        assertInstanceOf(ApiException.class, unavailable.found());
        assertEquals(1, unavailable.requests().size());

        var lost = called(CREATING, DISCONNECTS, CREATED);
        var error = assertInstanceOf(UnreachableException.class, lost.found());
        assertTrue(error.getMessage().startsWith("POST http://localhost"), error.getMessage());
        assertEquals(1, lost.requests().size());

        var silent = called(4, Duration.ofMillis(200), CREATING, IS_SILENT, CREATED);
        assertInstanceOf(UnreachableException.class, silent.found());
        assertEquals(1, silent.requests().size());
    }

    @Test
    void aRequestThatWasCertainlyNotProcessedIsSentAgain() throws Exception {
        var busy = called(CREATING, says(429, null), CREATED);
        assertInstanceOf(RoleRule.class, busy.found());
        assertEquals(2, busy.requests().size());

        int port = freePort();
        try (var client =
                client(URI.create("http://localhost:" + port)).attempts(20).build()) {
            var creation = CompletableFuture.supplyAsync(() -> client.createRoleRule(RULE));
            // The first attempts find no server, or a slow start finds one: both have to end in one request.
            try (var server = ScriptedServer.at(port, CREATED)) {
                assertEquals("r1", creation.get().id());
                assertEquals(7, client.policyRevision().orElseThrow());
                assertEquals(1, server.requests().size());
            }
        }
    }

    @Test
    void aConnectionThatWasNeverMadeIsTriedAgainForEveryRequest() throws Exception {
        int port = freePort();
        try (var client =
                client(URI.create("http://localhost:" + port)).attempts(2).build()) {
            long began = System.nanoTime();
            var error = assertThrows(UnreachableException.class, () -> client.createRoleRule(RULE));

            assertTrue(error.getMessage().contains("POST http://localhost:" + port), error.getMessage());
            // One pause lies between the two attempts.
            assertTrue(System.nanoTime() - began >= 100_000_000L);
        }
    }

    @Test
    void aLostConnectionIsMadeAgain() {
        var called = called(DELETING, DISCONNECTS, DISCONNECTS, says(204, null));
        assertEquals("deleted", called.found());
        assertEquals(3, called.requests().size());

        var never = called(2, Duration.ofSeconds(10), DELETING, DISCONNECTS);
        assertInstanceOf(UnreachableException.class, never.found());
        assertEquals(2, never.requests().size());

        assertEquals(List.of(), called(LISTING, DISCONNECTS, DISCONNECTS, EMPTY).found());
    }

    @Test
    void anotherAttemptAfterALostConnectionCountsOnTheSameConnectionToo() {
        try (var server = ScriptedServer.of(EMPTY, DISCONNECTS, EMPTY);
                var client = client(server.url()).build()) {
            client.roleRules();
            assertEquals(List.of(), client.roleRules());
        }
    }

    @Test
    void a404AfterALostDeleteCountsAsDeleted() {
        assertEquals("deleted", called(DELETING, DISCONNECTS, says(404, null)).found());
        assertEquals(
                "deleted", called(DELETING, says(502, null), says(404, null)).found());
        assertInstanceOf(
                ApiException.class,
                called(DELETING, says(429, null), says(404, null)).found());
        assertInstanceOf(ApiException.class, called(DELETING, says(404, null)).found());
    }

    @Test
    void aSilentServerIsGivenUpOn() {
        for (Script silence : List.of(IS_SILENT, STOPS_IN_THE_BODY)) {
            var called = called(2, Duration.ofMillis(300), LISTING, silence);

            var error = assertInstanceOf(UnreachableException.class, called.found());
            assertTrue(error.getMessage().contains("no answer within 300 ms"), error.getMessage());
            assertEquals(2, called.requests().size());
        }
    }

    @Test
    void aCredentialNeverFollowsARedirect() {
        try (var elsewhere = ScriptedServer.of(EMPTY)) {
            for (int status : new int[] {301, 302, 303, 307, 308}) {
                var called = called(
                        LISTING, says(status, null, "location", elsewhere.url().toString()));

                assertEquals(
                        status,
                        assertInstanceOf(ApiException.class, called.found()).status());
                assertEquals(1, called.requests().size());
            }
            assertEquals(List.of(), elsewhere.requests());
        }
    }

    @Test
    void anInterruptedCallEndsAndTheThreadStaysInterrupted() throws Exception {
        try (var server = ScriptedServer.of(IS_SILENT);
                var client = client(server.url()).build()) {
            var ended = new CompletableFuture<Boolean>();
            var thread = new Thread(() -> {
                try {
                    client.roleRules();
                } catch (UnreachableException error) {
                    ended.complete(Thread.currentThread().isInterrupted()
                            && error.getMessage().contains("interrupted"));
                } catch (RuntimeException error) {
                    ended.completeExceptionally(error);
                }
            });
            thread.start();
            while (server.requests().isEmpty()) {
                Thread.onSpinWait();
            }
            thread.interrupt();

            assertTrue(ended.get());
        }
    }

    @Test
    void closingEndsACallThatWaits() throws Exception {
        try (var server = ScriptedServer.of(IS_SILENT)) {
            var client = client(server.url()).build();
            var call = CompletableFuture.supplyAsync(client::roleRules);
            while (server.requests().isEmpty()) {
                Thread.onSpinWait();
            }
            client.close();

            var error = assertThrows(java.util.concurrent.ExecutionException.class, call::get);
            assertInstanceOf(UnreachableException.class, error.getCause());
            assertTrue(error.getCause().getMessage().contains("the client was closed"));
            assertThrows(IllegalStateException.class, client::roleRules);
            client.close();
        }
    }

    private static int freePort() throws IOException {
        try (var socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }
}
