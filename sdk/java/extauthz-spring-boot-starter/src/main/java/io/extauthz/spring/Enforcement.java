package io.extauthz.spring;

import io.extauthz.declare.Declaration;
import io.extauthz.declare.Enforcer;
import io.extauthz.declare.Verdict;
import jakarta.servlet.DispatcherType;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.http.HttpHeaders;
import org.springframework.http.server.PathContainer;
import org.springframework.web.cors.PreFlightRequestHandler;
import org.springframework.web.method.HandlerMethod;
import org.springframework.web.servlet.HandlerInterceptor;
import org.springframework.web.servlet.HandlerMapping;
import org.springframework.web.util.ServletRequestPathUtils;
import org.springframework.web.util.pattern.PathPattern;
import org.springframework.web.util.pattern.PathPatternParser;

/**
 * Decides about direct calls, before a handler of Spring MVC gets them.
 *
 * <p>INVARIANT: a handler gets a request only if the mesh or the API allowed it, or its path is permitted by
 * the settings.
 */
final class Enforcement implements HandlerInterceptor {

    private static final Logger LOG = LoggerFactory.getLogger("io.extauthz.spring");
    private static final String DECIDED = Enforcement.class.getName();

    private final DirectCalls directCalls;
    private final List<PathPattern> permitted;
    private final Enforcer enforcer;
    private final HandlerDeclarations declarations;
    private final Optional<SubjectResolver> subjects;

    Enforcement(
            ExtauthzProperties properties,
            Enforcer enforcer,
            HandlerDeclarations declarations,
            Optional<SubjectResolver> subjects) {
        this.directCalls = properties.directCalls();
        this.permitted = properties.directCallsPermit().stream().map(PathPatternParser.defaultInstance::parse).toList();
        this.enforcer = enforcer;
        this.declarations = declarations;
        this.subjects = subjects;
    }

    @Override
    public boolean preHandle(HttpServletRequest request, HttpServletResponse response, Object handler)
            throws IOException {
        // An error page and what the application forwards to belong to a request that was decided about.
        if (request.getDispatcherType() == DispatcherType.ERROR
                || request.getAttribute(DECIDED) != null
                || handler instanceof PreFlightRequestHandler
                || isPermitted(request)) {
            return true;
        }
        Verdict verdict = verdict(request, handler);
        if (verdict.allowed()) {
            request.setAttribute(DECIDED, true);
            return true;
        }
        LOG.info("a direct call of {} is denied, {}: {}", handler, verdict.reason(), verdict.message());
        deny(response, verdict);
        return false;
    }

    private Verdict verdict(HttpServletRequest request, Object handler) {
        if (CallerFilter.caller(request).isPresent()) {
            return new Verdict(200, "mesh", "", null, null);
        }
        if (directCalls == DirectCalls.REJECT) {
            return new Verdict(401, "token_missing", "the request did not come through the mesh", null, null);
        }
        Declaration declaration = handler instanceof HandlerMethod method
                ? declarations.of(method).declaration().orElse(null)
                : null;
        return enforcer.enforce(
                CallerFilter.headers(request),
                declaration,
                parameters(request),
                () -> subjects.flatMap(each -> each.subject(request)));
    }

    private static Map<String, String> parameters(HttpServletRequest request) {
        var parameters = new LinkedHashMap<String, String>();
        if (request.getAttribute(HandlerMapping.URI_TEMPLATE_VARIABLES_ATTRIBUTE) instanceof Map<?, ?> variables) {
            variables.forEach((name, value) -> parameters.put(String.valueOf(name), String.valueOf(value)));
        }
        return parameters;
    }

    private boolean isPermitted(HttpServletRequest request) {
        if (permitted.isEmpty() || !ServletRequestPathUtils.hasParsedRequestPath(request)) {
            return false;
        }
        PathContainer path = ServletRequestPathUtils.getParsedRequestPath(request).pathWithinApplication();
        return permitted.stream().anyMatch(each -> each.matches(path));
    }

    private static void deny(HttpServletResponse response, Verdict verdict) throws IOException {
        response.setStatus(verdict.status());
        if (verdict.status() == 401) {
            response.setHeader(HttpHeaders.WWW_AUTHENTICATE, "Bearer");
        } else if (verdict.status() == 503) {
            response.setHeader(HttpHeaders.RETRY_AFTER, "1");
        }
        response.setContentType("application/json");
        response.getOutputStream().write(verdict.body().getBytes(StandardCharsets.UTF_8));
    }
}
