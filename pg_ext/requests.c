/*
 * requests.c: a request from submit to free. It lives in a memory context: whatever ends that context (the call's end,
 * an error, a cancel, a rolled back savepoint, a closed cursor) takes the request out of the engine. All live requests
 * of a session on one model step together: a call that waits for its own text moves open cursors on too.
 */
#include "postgres.h"

#include "aigc_pg.h"
#include "miscadmin.h"

#define HINT_LIMIT "Ask for less, or raise aigc.context_size or aigc.kv_memory as far as the model goes."

void check_interrupts(void)
{
    CHECK_FOR_INTERRUPTS();
    /* While they are held off a pending one would make each piece of work return before it has done anything. */
    if (InterruptHoldoffCount > 0 || QueryCancelHoldoffCount > 0 || CritSectionCount > 0)
        elog(ERROR, "cannot run a model while interrupts are held off");
}

static void free_request(void *arg)
{
    Request *request = arg;

    if (!request->request)
        return;
    aigc_request_free(request->request);
    request->request = NULL;
    session_model_unpin(request->model);
}

Request *request_begin(SessionModel *model, const aigc_request_options *options)
{
    Request *request = palloc0(sizeof *request);
    aigc_error error;

    request->on_reset.func = free_request;
    request->on_reset.arg = request;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, &request->on_reset);
    aigc_status status;
    do {
        check_interrupts();
        status = aigc_submit(model->engine, options, &request->request, &error);
    } while (status == AIGC_INTERRUPTED);
    if (status != AIGC_OK) {
        request->request = NULL;
        raise_core_error(&error, error.code == AIGC_E_LIMIT ? HINT_LIMIT : NULL);
    }
    request->model = model;
    session_model_pin(model);
    return request;
}

/* One step for all live requests. */
static void step(SessionModel *model)
{
    check_interrupts();

    aigc_error error;
    aigc_status status = aigc_step(model->engine, &error);
    if (status != AIGC_OK && status != AIGC_INTERRUPTED) {
        model->failure = error;
        raise_core_error(&error, NULL);
    }
}

bool request_next(Request *request, aigc_piece *piece)
{
    while (!aigc_request_take(request->request, piece)) {
        if (aigc_request_done(request->request))
            return false;
        step(request->model);
    }
    /* The step that failed may have been another call's, which has raised the error there. */
    if (piece->finish == AIGC_FINISH_ERROR)
        raise_core_error(&request->model->failure, NULL);
    return true;
}

void request_end(Request *request)
{
    free_request(request);
}
