package io.extauthz.declare;

import io.extauthz.client.ApiException;
import io.extauthz.client.ExtauthzException;
import io.extauthz.client.Problem;
import io.extauthz.client.UnreachableException;
import java.util.stream.Collectors;

/** Says why a registration failed, and what is to be done: one message with every problem. */
final class RegistrationProblem {

    private static final int MOST_SHOWN = 10;

    private RegistrationProblem() { }

    static String of(ApiException error, Declared declared) {
        String problems = error.errors().stream()
                .limit(MOST_SHOWN)
                .map(each -> "; " + shown(each, declared))
                .collect(Collectors.joining());
        String more = error.errors().size() > MOST_SHOWN ? "; and " + (error.errors().size() - MOST_SHOWN) + " more" : "";
        return "extauthz refused the registration: " + error.summary() + problems + more + fix(error.status());
    }

    static String of(ExtauthzException error) {
        if (error instanceof UnreachableException) {
            return "extauthz cannot be reached, so that nothing is registered: " + error.getMessage()
                    + "; check that it runs and that its address is right";
        }
        return "the registration at extauthz failed: " + error.getMessage();
    }

    private static String shown(Problem problem, Declared declared) {
        String place = problem.pointer() == null || declared == null ? "" : declared.origin(problem.pointer()) + ": ";
        return place + problem.message();
    }

    private static String fix(int status) {
        return switch (status) {
            case 401 -> "; check the credential: EXTAUTHZ_SERVICE_API_KEY, or ADMIN_CLIENT_ID and its secret";
            case 403 -> "; the service key needs the scope resources:write, the name of this service and prefixes that"
                    + " hold its paths, and what opens a route to everyone needs a tenant admin";
            case 409 -> "; use another name or path here, or delete the other one at extauthz";
            case 422 -> "; change what is declared there";
            default -> "";
        };
    }
}
