package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.IS_SILENT;
import static io.extauthz.client.ScriptedServer.says;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ThreadsTest {

    private static final ScriptedServer.Script EMPTY = says(200, "{\"items\": [], \"next_cursor\": null}");
    private static final ScriptedServer.Script CREATED = says(
            201,
            "{\"id\": \"r1\", \"sub\": \"s\", \"sub_kind\": \"role\", \"dom\": \"*\", \"obj\": \"o\", \"act\": \"a\","
                    + " \"effect\": \"allow\"}");

    /** An application that forgets to close its client. */
    public static final class Application {

        private Application() {}

        public static void main(String[] arguments) {
            var client = ExtauthzClient.builder(URI.create(arguments[0]), new ServiceKey("k"))
                    .timeout(Duration.ofMillis(200))
                    .attempts(1)
                    .build();
            try {
                System.out.println(client.roleRules());
                client.createRoleRule(new RoleRule("s", "*", "o", "a", Effect.ALLOW));
            } catch (ExtauthzException error) {
                System.out.println(error.getMessage());
            }
            String left = threads(each -> !each.isDaemon() && !each.equals(Thread.currentThread()))
                    .toString();
            System.out.println("not daemons: " + left);
        }
    }

    private static Set<String> threads(Predicate<Thread> wanted) {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(wanted)
                .map(Thread::getName)
                .filter(name -> !name.equals("DestroyJavaVM") && !name.equals("Signal Dispatcher"))
                .collect(Collectors.toSet());
    }

    @Test
    void anApplicationEndsWithoutClosingItsClient() throws Exception {
        for (var answer : List.of(CREATED, IS_SILENT)) {
            try (var server = ScriptedServer.of(EMPTY, answer)) {
                String java =
                        Path.of(System.getProperty("java.home"), "bin", "java").toString();
                Process process = new ProcessBuilder(
                                java,
                                "-cp",
                                System.getProperty("java.class.path"),
                                Application.class.getName(),
                                server.url().toString())
                        .redirectErrorStream(true)
                        .start();
                try {
                    String said = new String(process.getInputStream().readAllBytes());
                    assertTrue(process.waitFor(20, TimeUnit.SECONDS), "the JVM does not end: " + said);
                    assertEquals(0, process.exitValue(), said);
                    assertTrue(said.contains("not daemons: []"), said);
                } finally {
                    process.destroyForcibly();
                }
            }
        }
    }

    @Test
    void everyThreadOfAClientIsADaemonAndKeepsNoClassLoader() throws Exception {
        try (var server = ScriptedServer.of(EMPTY);
                var client = ExtauthzClient.builder(server.url(), new ServiceKey("k"))
                        .build()) {
            var callers = Executors.newFixedThreadPool(8);
            try {
                var calls = IntStream.range(0, 64)
                        .mapToObj(call -> CompletableFuture.supplyAsync(client::roleRules, callers))
                        .toList();
                for (var call : calls) {
                    call.get();
                }
            } finally {
                callers.shutdown();
            }
            Map<Boolean, Set<String>> threads = Thread.getAllStackTraces().keySet().stream()
                    .filter(each -> each.getName().startsWith("extauthz-")
                            || each.getName().startsWith("HttpClient-"))
                    .collect(Collectors.partitioningBy(
                            each -> each.isDaemon()
                                    && (each.getContextClassLoader() == null
                                            || !each.getName().startsWith("extauthz-")),
                            Collectors.mapping(Thread::getName, Collectors.toSet())));
            assertEquals(Set.of(), threads.get(false));
            assertTrue(!threads.get(true).isEmpty());
        }
    }

    @Test
    void theThreadsOfAClosedClientEnd() throws Exception {
        Set<String> before = threads(each -> true);
        try (var server = ScriptedServer.of(EMPTY, CREATED)) {
            var client =
                    ExtauthzClient.builder(server.url(), new ServiceKey("k")).build();
            client.roleRules();
            client.createRoleRule(new RoleRule("s", "*", "o", "a", Effect.ALLOW));
            client.close();
        }
        // JDK 17 ends the thread of an HttpClient when it is collected, the JDKs from 21 on at once.
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        Set<String> left;
        do {
            System.gc();
            left = threads(each ->
                    each.getName().startsWith("extauthz-") || each.getName().startsWith("HttpClient-"));
            left.removeAll(before);
        } while (!left.isEmpty() && System.nanoTime() < until);
        assertEquals(Set.of(), left);
    }
}
