package io.extauthz.quarkus.runtime;

import io.extauthz.declare.Caller;
import io.extauthz.declare.Declaration;
import io.extauthz.declare.Verdict;
import io.quarkus.runtime.BlockingOperationControl;
import io.quarkus.runtime.ExecutorRecorder;
import jakarta.enterprise.inject.Instance;
import jakarta.inject.Singleton;
import jakarta.ws.rs.core.MediaType;
import jakarta.ws.rs.core.MultivaluedMap;
import jakarta.ws.rs.core.Response;
import jakarta.ws.rs.core.SecurityContext;
import java.security.Principal;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jboss.logging.Logger;
import org.jboss.logging.Logger.Level;
import org.jboss.resteasy.reactive.server.core.ResteasyReactiveRequestContext;
import org.jboss.resteasy.reactive.server.mapping.RuntimeResource;
import org.jboss.resteasy.reactive.server.spi.ResteasyReactiveContainerRequestContext;
import org.jboss.resteasy.reactive.server.spi.ResteasyReactiveContainerRequestFilter;

/** Lets a request through or answers it, and keeps its caller; never waits in the thread of an event loop. */
@Singleton
public class CallerFilter implements ResteasyReactiveContainerRequestFilter {

    /** The property of a request that holds its caller. */
    public static final String CALLER = "io.extauthz.caller";

    private static final Logger LOG = Logger.getLogger("io.extauthz");

    private final Instance<Admission> admissions;
    private final DeclaredEndpoints endpoints;

    /**
     * Takes what it needs.
     *
     * @param admissions decide; the settings are there only after the filter is made
     * @param endpoints what the endpoints declare
     */
    public CallerFilter(Instance<Admission> admissions, DeclaredEndpoints endpoints) {
        this.admissions = admissions;
        this.endpoints = endpoints;
    }

    @Override
    public void filter(ResteasyReactiveContainerRequestContext request) {
        Admission admission = admissions.get();
        if (admission.isOff()) {
            return;
        }
        RuntimeResource target = ((ResteasyReactiveRequestContext) request.getServerRequestContext()).getTarget();
        Declaration declared = endpoints.of(ScannedEndpoint.key(
                target.getResourceClass().getName(),
                target.getJavaMethodName(),
                target.getHttpMethod(),
                target.getPath().template));
        MultivaluedMap<String, String> all = request.getHeaders();
        Function<String, List<String>> headers = name -> List.copyOf(all.getOrDefault(name, List.of()));
        Map<String, String> parameters = parameters(request);
        if (!admission.canWait() || BlockingOperationControl.isBlockingAllowed()) {
            settle(request, admit(admission, headers, declared, parameters));
            return;
        }
        request.suspend();
        ExecutorRecorder.getCurrent().execute(() -> {
            settle(request, admit(admission, headers, declared, parameters));
            request.resume();
        });
    }

    /** INVARIANT: an exception denies. */
    private static Verdict admit(
            Admission admission,
            Function<String, List<String>> headers,
            Declaration declared,
            Map<String, String> parameters) {
        try {
            return admission.admit(headers, declared, parameters);
        } catch (RuntimeException error) {
            LOG.error("a request is denied, as deciding about it failed", error);
            return Admission.denied(503, "internal_error", error.getClass().getName());
        }
    }

    private static void settle(ResteasyReactiveContainerRequestContext request, Verdict verdict) {
        if (!verdict.allowed()) {
            LOG.log(verdict.status() == 503 ? Level.WARN : Level.INFO,
                    "a direct call is denied, " + verdict.status() + " " + verdict.reason() + ": " + verdict.message());
            request.abortWith(refusal(verdict));
            return;
        }
        Caller caller = verdict.caller();
        if (caller == null) {
            return;
        }
        request.setProperty(CALLER, caller);
        SecurityContext security = request.getSecurityContext();
        if (security == null || security.getUserPrincipal() == null) {
            request.setSecurityContext(new CallerSecurity(caller, security != null && security.isSecure()));
        }
    }

    private static Response refusal(Verdict verdict) {
        Response.ResponseBuilder response = Response.status(verdict.status())
                .type(MediaType.APPLICATION_JSON_TYPE)
                .entity(verdict.body());
        if (verdict.status() == 401) {
            response.header("WWW-Authenticate", "Bearer");
        } else if (verdict.status() == 503) {
            response.header("Retry-After", "1");
        }
        return response.build();
    }

    private static Map<String, String> parameters(ResteasyReactiveContainerRequestContext request) {
        Map<String, String> parameters = new HashMap<>();
        request.getUriInfo().getPathParameters().forEach((name, values) -> parameters.put(name, values.get(0)));
        return parameters;
    }

    /** The caller as the security context of Jakarta REST. */
    private record CallerSecurity(Caller caller, boolean isSecure) implements SecurityContext {

        @Override
        public Principal getUserPrincipal() {
            return caller.isAnonymous() ? null : caller;
        }

        @Override
        public boolean isUserInRole(String role) {
            return caller.hasRole(role);
        }

        @Override
        public String getAuthenticationScheme() {
            return "extauthz";
        }
    }
}
