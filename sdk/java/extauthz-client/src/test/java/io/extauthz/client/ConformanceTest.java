package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.extauthz.client.ConformanceCases.Case;
import io.extauthz.client.ConformanceCases.Variables;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The client against a scripted API and a scripted identity provider. */
class ConformanceTest {

    private static final String SERVICE_KEY = "sak_live_0123456789";
    private static final Instant NOW = Instant.parse("2026-01-05T10:00:00Z");
    private static final int SHORTEST_SECRET = 8;

    /** Clocks that only {@code advance} and the client's pauses move. */
    private static final class VirtualTime implements Timing {

        private final List<BigDecimal> waits = new ArrayList<>();
        private Duration passed = Duration.ZERO;
        private ConformanceServers servers;

        @Override
        public synchronized Instant now() {
            return NOW.plus(passed);
        }

        @Override
        public synchronized long nanoTime() {
            return passed.toNanos();
        }

        @Override
        public void pause(Duration duration) {
            synchronized (this) {
                waits.add(seconds(duration));
                passed = passed.plus(duration);
            }
            servers.paused();
        }

        private synchronized void advance(Number seconds) {
            waits.clear();
            passed = passed.plusNanos(
                    ConformanceComparison.exact(seconds).movePointRight(9).longValueExact());
        }

        private static BigDecimal seconds(Duration duration) {
            return BigDecimal.valueOf(duration.toNanos(), 9);
        }

        private synchronized boolean fits(List<?> bounds) {
            if (bounds.size() != waits.size()) {
                return false;
            }
            for (int index = 0; index < waits.size(); index++) {
                var pair = (List<?>) bounds.get(index);
                BigDecimal wait = waits.get(index);
                if (wait.compareTo(ConformanceComparison.exact((Number) pair.get(0))) < 0
                        || wait.compareTo(ConformanceComparison.exact((Number) pair.get(1))) > 0) {
                    return false;
                }
            }
            return true;
        }
    }

    @TempDir
    Path folder;

    private final List<String> problems = new ArrayList<>();

    static List<Case> cases() throws IOException {
        return ConformanceCases.all();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void scripted(Case each) throws IOException {
        var time = new VirtualTime();
        var assertions = new ConformanceAssertions(folder, time::now);
        var variables = new Variables(Map.of(
                "FILE", name -> folder.resolve(name).toString(),
                "KEY_FILE", assertions::keyFile));
        variables.values.put("RUN", "run1");
        ConformanceCases.object(each.document(), "variables")
                .forEach((name, value) -> variables.values.put((String) name, value));
        for (Map.Entry<?, ?> file : ConformanceCases.object(each.document(), "files").entrySet()) {
            Files.writeString(folder.resolve((String) file.getKey()), (String) variables.fill(file.getValue()));
        }
        try (var servers = new ConformanceServers(assertions)) {
            time.servers = servers;
            variables.values.put("API", servers.address("api"));
            variables.values.put("PROVIDER", servers.address("provider"));
            List<Map<?, ?>> steps = ConformanceCases.objects(variables.fill(each.steps()));
            var script = new ArrayList<Map<?, ?>>();
            steps.forEach(step -> script.addAll(ConformanceCases.objects(step.get("exchanges"))));
            servers.follow(script);
            Map<?, ?> credentials = each.document().containsKey("credentials")
                    ? (Map<?, ?>) variables.fill(each.document().get("credentials"))
                    : Map.of("service_key", SERVICE_KEY);
            servers.serviceKey = serviceKey(credentials);
            var options = (Map<?, ?>) variables.fill(ConformanceCases.object(each.document(), "client"));
            var said = new ArrayList<String>();
            run(servers, time, steps, credentials, options, said);
            assertEquals(List.of(), List.copyOf(servers.problems));
            assertEquals(List.of(), problems);
            secrets(credentials, servers).forEach(secret -> said.forEach(text -> {
                if (text.contains(secret)) {
                    problems.add("a secret is in: " + text.replace(secret, "<secret>"));
                }
            }));
            assertEquals(List.of(), problems);
        }
    }

    private void run(
            ConformanceServers servers,
            VirtualTime time,
            List<Map<?, ?>> steps,
            Map<?, ?> credentials,
            Map<?, ?> options,
            List<String> said) {
        ExtauthzClient client = null;
        try {
            for (int number = 0; number < steps.size(); number++) {
                Map<?, ?> step = steps.get(number);
                time.advance(step.get("advance") instanceof Number seconds ? seconds : 0);
                servers.beginStep(ConformanceCases.objects(step.get("exchanges")).size());
                Object result = null;
                RuntimeException error = null;
                try {
                    if (client == null) {
                        Credentials made = ConformanceCalls.credentials(credentials);
                        String url = options.get("url") instanceof String text ? text : servers.address("api");
                        client = ConformanceCalls.client(url, options, made).timing(time).build();
                        said.add(made + " " + client);
                    }
                    result = ConformanceCalls.called(
                            client, (String) step.get("call"), ConformanceCases.object(step, "with"));
                } catch (ExtauthzException | IllegalArgumentException thrown) {
                    error = thrown;
                    said.add(ConformanceCalls.trace(thrown));
                }
                servers.endStep();
                compare("step " + number + ": ", step, result, error);
                if (step.containsKey("revision") && client != null) {
                    var known = client.policyRevision();
                    Object revision = known.isPresent() ? known.getAsLong() : null;
                    problems.addAll(ConformanceComparison.of(step.get("revision"), revision, "revision"));
                }
                List<?> bounds = step.get("waits") instanceof List<?> list ? list : List.of();
                if (!time.fits(bounds)) {
                    problems.add("step " + number + ": the waits are " + time.waits + ", not " + bounds);
                }
            }
        } finally {
            if (client != null) {
                client.close();
            }
        }
    }

    private void compare(String place, Map<?, ?> step, Object result, RuntimeException error) {
        List<String> found;
        if (step.containsKey("error")) {
            found = error == null
                    ? List.of("no error was thrown, the result is " + result)
                    : ConformanceComparison.ofFailure(
                            ConformanceCases.object(step, "error"), ConformanceCalls.failure(error));
        } else if (error != null) {
            found = List.of("an error was thrown: " + ConformanceCalls.trace(error));
        } else {
            found = ConformanceComparison.of(step.get("result"), result, "result");
        }
        found.forEach(each -> problems.add(place + each));
    }

    private static String serviceKey(Map<?, ?> credentials) throws IOException {
        Map<?, ?> environment = ConformanceCases.object(credentials, "environment");
        if (environment.get("EXTAUTHZ_SERVICE_API_KEY_FILE") instanceof String file && Files.exists(Path.of(file))) {
            return Files.readString(Path.of(file)).stripTrailing();
        }
        Object key = credentials.get("service_key");
        return (String) (key == null ? environment.get("EXTAUTHZ_SERVICE_API_KEY") : key);
    }

    /** Returns every secret of a case that is long enough to be found by its text, as it is and encoded. */
    private static List<String> secrets(Map<?, ?> credentials, ConformanceServers servers) {
        var secrets = new ArrayList<String>(servers.tokens);
        if (servers.serviceKey != null) {
            secrets.add(servers.serviceKey);
        }
        Map<?, ?> environment = ConformanceCases.object(credentials, "environment");
        Map<?, ?> client = ConformanceCases.object(credentials, "client_credentials");
        Object secret = client.containsKey("client_secret") ? client.get("client_secret") : environment.get("ADMIN_CLIENT_SECRET");
        Object id = client.containsKey("client_id") ? client.get("client_id") : environment.get("ADMIN_CLIENT_ID");
        if (secret instanceof String text) {
            secrets.add(text);
            String pair = Addresses.form(String.valueOf(id)) + ":" + Addresses.form(text);
            secrets.add(Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.US_ASCII)));
        }
        secrets.removeIf(each -> each.length() < SHORTEST_SECRET);
        return secrets;
    }
}
