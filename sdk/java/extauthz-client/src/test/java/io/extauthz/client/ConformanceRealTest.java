package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.extauthz.client.ConformanceCases.Case;
import io.extauthz.client.ConformanceCases.Variables;
import io.extauthz.client.ConformanceComparison.Failure;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The cases with {@code real}, against a running demo; results have values that no case can know. */
@Timeout(60)
class ConformanceRealTest {

    private static Demo demo;

    @BeforeAll
    static void find() throws Exception {
        demo = Demo.running();
    }

    static List<Case> cases() throws IOException {
        return ConformanceCases.all().stream().filter(Case::isReal).toList();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void real(Case each) throws Exception {
        var variables = new Variables(Map.of());
        variables.values.put("RUN", "run-" + UUID.randomUUID().toString().substring(0, 8));
        Map<?, ?> real = (Map<?, ?>) variables.fill(each.document().get("real"));
        Credentials credentials = real.get("as").equals("admin")
                ? demo.client(demo.fact("admin_client_id"))
                : demo.serviceKey(Members.object(ConformanceCases.object(real, "key")));
        Map<?, ?> options = ConformanceCases.object(each.document(), "client");
        var problems = new ArrayList<String>();
        try (var client = ConformanceCalls.client(demo.url().toString(), options, credentials).build()) {
            int number = 0;
            for (Map<?, ?> step : each.steps()) {
                Map<?, ?> with = (Map<?, ?>) variables.fill(ConformanceCases.object(step, "with"));
                List<String> found;
                try {
                    Object result = ConformanceCalls.called(client, (String) step.get("call"), with);
                    found = ofResult(step, result, variables);
                } catch (ExtauthzException | IllegalArgumentException error) {
                    found = ofError(step, error, variables);
                }
                if (step.containsKey("revision")) {
                    Long revision = client.policyRevision().isPresent() ? client.policyRevision().getAsLong() : null;
                    variables.bind(step.get("revision"), revision);
                    found.addAll(ConformanceComparison.of(variables.fill(step.get("revision")), revision, "revision"));
                }
                for (String problem : found) {
                    problems.add("step " + number + ": " + problem);
                }
                number++;
            }
        }
        assertEquals(List.of(), problems);
    }

    private static List<String> ofResult(Map<?, ?> step, Object result, Variables variables) {
        if (step.containsKey("error")) {
            return new ArrayList<>(List.of("no error was thrown, the result is " + result));
        }
        Object own = result;
        if (result instanceof List<?> entries) {
            // Others use the API as well.
            String word = (String) variables.values.get("RUN");
            own = entries.stream().filter(entry -> entry.toString().contains(word)).toList();
        }
        variables.bind(step.get("result"), own);
        return ConformanceComparison.of(variables.fill(step.get("result")), own, "result");
    }

    private static List<String> ofError(Map<?, ?> step, RuntimeException error, Variables variables) {
        if (!step.containsKey("error")) {
            return new ArrayList<>(List.of("an error was thrown: " + ConformanceCalls.trace(error)));
        }
        Map<?, ?> expected = ConformanceCases.object(step, "error");
        Failure found = ConformanceCalls.failure(error);
        var bound = new LinkedHashMap<Object, Object>();
        for (String name : List.of("detail", "errors")) {
            if (expected.containsKey(name)) {
                bound.put(name, expected.get(name));
            }
        }
        variables.bind(bound, found.members());
        return ConformanceComparison.ofFailure((Map<?, ?>) variables.fill(expected), found);
    }
}
